"""Which rules there are.

In:  the modules of ``tb_gradients/rules/``.
Out: the rule classes, rules with a user's settings, and the rule book as plain data.
Does not know about frames or flags.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Iterable, Mapping
from typing import Any

import tb_gradients.rules
from tb_gradients.judging.base import Rule, known_names
from tb_gradients.judging.causes import CAUSES
from tb_gradients.judging.ranges import ranges

RuleSettings = Mapping[str, "Mapping[str, object] | bool"]
"""For example ``{"dead_units": {"share": 0.8}, "symmetric_units": False}``."""


@functools.cache
def all_rules() -> tuple[type[Rule], ...]:
    """Every rule, worst first, then by name: the classes of the modules named after their id."""
    found: list[type[Rule]] = []
    for info in pkgutil.iter_modules(tb_gradients.rules.__path__):
        module = importlib.import_module(f"{tb_gradients.rules.__name__}.{info.name}")
        found += [
            item
            for item in vars(module).values()
            if isinstance(item, type)
            and issubclass(item, Rule)
            and getattr(item, "id", None) == info.name
        ]
    return tuple(sorted(found, key=lambda rule: (-rule.severity, rule.id)))


def make_rules(settings: RuleSettings | Iterable[Rule] | None = None) -> list[Rule]:
    """The rules to apply: all of them, but for what the settings say.

    Args:
        settings: ``{"rule_id": {"threshold": value}}`` changes thresholds,
            ``{"rule_id": False}`` switches a rule off. Rule objects are taken as they are.

    Raises:
        ValueError: an unknown rule or threshold, or a value of the wrong kind; the message
            names the known ones.
    """
    if settings is not None and not isinstance(settings, Mapping):
        given = list(settings) if isinstance(settings, Iterable) else [settings]
        if not all(isinstance(rule, Rule) for rule in given):
            raise ValueError('rules must be a mapping such as {"dead_units": {"share": 0.8}}')
        return given
    chosen = dict(settings or {})
    known = [rule.id for rule in all_rules()]
    for name, value in chosen.items():
        if name not in known:
            raise ValueError(f"there is no rule {name!r}; {known_names(name, sorted(known))}")
        if not isinstance(value, (bool, Mapping)):
            raise ValueError(
                f"the setting of rule {name!r} must be False or a mapping of thresholds, "
                f"not {value!r}"
            )
    made = []
    for rule in all_rules():
        setting = chosen.get(rule.id, True)
        if setting is not False:
            made.append(rule(None if setting is True else setting))
    return made


def titles() -> dict[str, str]:
    """What each rule is called, by id."""
    return {rule.id: rule.title for rule in all_rules()}


def rule_book(rules: Iterable[type[Rule]] | None = None) -> dict[str, Any]:
    """These rules, or all, and all causes as JSON-ready data: for HTTP and the command line."""
    chosen = all_rules() if rules is None else tuple(rules)
    return {
        "rules": [rule.page().to_json() for rule in chosen],
        "causes": [
            {"id": kind.id, "title": kind.title, "summary": kind.summary}
            for kind in CAUSES.values()
        ],
        "ranges": ranges(chosen),
    }
