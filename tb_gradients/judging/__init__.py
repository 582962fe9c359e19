"""The rules, and the engine that applies them.

In:  a variable table and frames.
Out: ``Engine`` (live), ``judge`` (offline), ``rule_book`` (the manual as data).
Does not know about TensorFlow, TensorBoard or files: NumPy alone.

**To add a rule**, add one file here, named after the rule's id, with one subclass of
``base.Rule`` that has this id. Nothing is registered by hand: ``registry.all_rules`` imports
the modules of this folder and takes the classes whose id is their module's name, so two
people who add rules never edit the same line. A cause that is not in ``causes.CAUSES`` yet is
added there. Its tests go to ``tests/rules/test_<id>.py``; the manual, ``tb-gradients rules``
and the tab take the text from the class docstring.
"""

from __future__ import annotations

from tb_gradients.judging.engine import Engine, Verdict, judge
from tb_gradients.judging.registry import RuleSettings, all_rules, make_rules, rule_book

__all__ = [
    "Engine",
    "RuleSettings",
    "Verdict",
    "all_rules",
    "judge",
    "make_rules",
    "rule_book",
]
