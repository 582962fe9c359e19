"""One small training for each package that people train with on top of Keras or TensorFlow.

Each module has a ``PROGRAM``: a healthy training, and the same with one planted fault. Its
docstring says how the monitor is attached. ``program`` has the types, ``running`` trains one in
this process. ``benchmarks/packages.py`` runs them all, each in an environment of its own.
"""
