"""The rules, one file each, and nothing else.

**To add a rule**, add one file here, named after the rule's id, with one subclass of
``judging.base.Rule`` that has this id. Nothing is registered by hand:
``judging.registry.all_rules`` imports the modules of this folder and takes the classes whose id
is their module's name, so two people who add rules never edit the same line. A cause that is not
in ``judging.causes.CAUSES`` yet is added there. Its tests go to ``tests/rules/test_<id>.py``; the
manual, ``tb-gradients rules`` and the tab take the text from the class docstring.
"""
