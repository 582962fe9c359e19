"""Which rules there are.

In:  the modules of ``tb_gradients/rules/``, entry points, and classes of the user's own.
Out: the rule classes, rules with a user's settings, and the rule book as plain data.
Does not know about frames, or what a flag says.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import logging
import pkgutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import tb_gradients.rules
from tb_gradients import schema
from tb_gradients.flags import Flag, Severity
from tb_gradients.judging.base import Rule, known_names
from tb_gradients.judging.causes import CAUSES
from tb_gradients.judging.ranges import ranges

Thresholds = Mapping[str, "Mapping[str, object] | bool"]
"""For example ``{"dead_units": {"share": 0.8}, "symmetric_units": False}``."""

RuleSettings = Thresholds | Iterable["type[Rule] | Thresholds"]
"""Thresholds, or a list of rules of the user's own, which may hold thresholds, too."""

ENTRY_POINTS = "tb_gradients.rules"
"""Group of the entry points by which other packages add rules to the rule book."""

_log = logging.getLogger("tb_gradients")


@functools.cache
def all_rules() -> tuple[type[Rule], ...]:
    """Every rule, worst first, then by name: the classes of the modules named after their id, and
    those that installed packages add.
    """
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
    found += _installed({rule.id for rule in found})
    return tuple(sorted(found, key=lambda rule: (-rule.severity, rule.id)))


def _installed(taken: set[str]) -> Iterator[type[Rule]]:
    """The rules of installed packages; one that cannot be used is left out with a warning."""
    for point in importlib.metadata.entry_points(group=ENTRY_POINTS):
        try:
            rule = check_rule(point.load())
            rule.page()
            if rule.id in taken:
                raise ValueError(f"there is a rule {rule.id!r} already")
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            _log.warning("tb_gradients: the rule %s is left out: %s", point.value, reason)
        else:
            taken.add(rule.id)
            yield rule


def check_rule(rule: object) -> type[Rule]:
    """A class of the user's own, which can be used as a rule.

    Raises:
        ValueError: it cannot; the message says what is missing.
    """
    if not (isinstance(rule, type) and issubclass(rule, Rule)):
        raise ValueError(
            f"{rule!r} is no rule: a class that inherits from tb_gradients.judging.Rule"
        )
    missing = [name for name in ("id", "title", "severity", "needs") if not hasattr(rule, name)]
    missing += sorted(rule.__abstractmethods__)
    if missing:
        raise ValueError(f"the rule {rule.__name__} lacks {', '.join(missing)}")
    known = [column.name for column in (*schema.STATISTICS, *schema.DERIVED, *schema.CONTEXT)]
    for name in rule.needs:
        if name not in known:
            near = known_names(name, known)
            raise ValueError(f"the rule {rule.id!r} needs {name!r}, which is no column; {near}")
    return rule


def make_rules(settings: RuleSettings | Iterable[Rule] | None = None) -> list[Rule]:
    """The rules to apply: all of them, but for what the settings say.

    Args:
        settings: ``{"rule_id": {"threshold": value}}`` changes thresholds,
            ``{"rule_id": False}`` switches a rule off. ``[MyRule]`` adds rules, given as classes;
            the list may hold thresholds, too. Rule objects are applied as they are, and no others.

    Raises:
        ValueError: an unknown rule or threshold, or a value of the wrong kind; the message
            names the known ones. A class that is no rule.
    """
    if settings is None or isinstance(settings, Mapping):
        return _made(all_rules(), settings or {})
    given: list[Any] = list(settings) if isinstance(settings, Iterable) else [settings]
    if given and all(isinstance(item, Rule) for item in given):
        return given
    rules, thresholds = list(all_rules()), dict[str, "Mapping[str, object] | bool"]()
    for item in given:
        if isinstance(item, Mapping):
            thresholds |= item
        elif isinstance(item, type):
            own = check_rule(item)
            if any(rule.id == own.id and rule is not own for rule in rules):
                raise ValueError(f"there is a rule {own.id!r} already: give yours another id")
            rules += [own] if own not in rules else []
        else:
            raise ValueError(
                'rules must be a mapping such as {"dead_units": {"share": 0.8}}, or a list of '
                f"classes such as [MyRule], which may hold such mappings; not {item!r}"
            )
    return _made(rules, thresholds)


def _made(rules: Sequence[type[Rule]], chosen: Thresholds) -> list[Rule]:
    known = [rule.id for rule in rules]
    for name, value in chosen.items():
        if name not in known:
            raise ValueError(f"there is no rule {name!r}; {known_names(name, sorted(known))}")
        if not isinstance(value, (bool, Mapping)):
            raise ValueError(
                f"the setting of rule {name!r} must be False or a mapping of thresholds, "
                f"not {value!r}"
            )
    made = []
    for rule in rules:
        setting = chosen.get(rule.id, True)
        if setting is not False:
            made.append(rule(None if setting is True else setting))
    return made


def of_rules_elsewhere(flags: Iterable[Flag], judged: Iterable[Rule]) -> list[Flag]:
    """The flags of rules that are known where the model trained, and not here.

    Args:
        flags: those of the stored verdict.
        judged: the rules that were applied here.
    """
    known = {rule.id for rule in all_rules()} | {rule.id for rule in judged}
    return [flag for flag in flags if flag.rule not in known]


def titles() -> dict[str, str]:
    """What each rule is called, by id."""
    return {rule.id: rule.title for rule in all_rules()}


def own_pages(rules: Iterable[Rule]) -> list[dict[str, Any]]:
    """The pages of those rules that are not built in, as ``rule_book`` has them.

    A rule without all parts of a page has its title and severity.
    """
    own = [type(rule) for rule in rules if not _is_built_in(type(rule))]
    return [_page(rule) for rule in own]


def _is_built_in(rule: type[Rule]) -> bool:
    return rule.__module__.startswith(f"{tb_gradients.rules.__name__}.")


def _page(rule: type[Rule]) -> dict[str, Any]:
    try:
        return rule.page().to_json()
    except ValueError:  # its docstring lacks a heading
        return {"id": rule.id, "title": rule.title, "severity": Severity(rule.severity).label}


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
