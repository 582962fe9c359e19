"""What judges a run, whatever the rules look for: the engine, and what all rules share.

In:  a variable table and frames.
Out: ``Engine`` (live), ``judge`` (offline), ``rule_book`` (the manual as data); and all names that
     a rule of the user's own needs, ``Rule`` first (``docs/examples/mostly_zero.py``).
Does not know about TensorFlow, TensorBoard or files: NumPy alone.

* ``engine``: opens, updates and closes flags. ``registry``: which rules there are.
* ``base``: what a rule is. ``window``: what it sees. ``learning``: is the run learning?
* ``causes``: every cause, by name. ``words``, ``initial_values``, ``networks``, ``data_scales``,
  ``learning_rates``, ``precision``, ``outputs``, ``before_nan``: evidence that several rules share.

The rules themselves, one file each, are in ``tb_gradients/rules/``.
"""

from __future__ import annotations

from tb_gradients.flags import Cause, Evidence, Severity
from tb_gradients.judging.base import Basis, Detection, Finding, Rule, Threshold
from tb_gradients.judging.engine import Engine, Verdict, judge
from tb_gradients.judging.registry import RuleSettings, all_rules, make_rules, rule_book
from tb_gradients.judging.window import IntArray, Window

__all__ = [
    "Basis",
    "Cause",
    "Detection",
    "Engine",
    "Evidence",
    "Finding",
    "IntArray",
    "Rule",
    "RuleSettings",
    "Severity",
    "Threshold",
    "Verdict",
    "Window",
    "all_rules",
    "judge",
    "make_rules",
    "rule_book",
]
