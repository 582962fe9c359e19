"""Programs with one planted line each, for ``benchmarks/origin.py``.

``snippets`` declares what a planted line is, ``none``, ``forward``, ``backward``, ``compiled``,
``zero`` hold them, ``helpers`` is a module that some of them call, ``training`` trains each.
"""
