"""A zoo of small training programs, healthy and faulty, to measure the rules on.

``data`` and ``architectures`` are the parts, ``recipes`` puts them together and trains,
``programs`` lists the healthy programs and ``faults`` the faulty ones with what must be said of
them; ``judging`` reads recorded trainings again, ``peers`` holds the published rules of others.
"""
