"""Programs with one planted line each, for ``benchmarks/origin.py``.

``snippets`` declares what a planted line is, a module of each kind of fault holds them, and
``unseen`` those of all kinds that were written without a look at the search. ``helpers`` is a
module that some of them call, ``training`` trains each.
"""
