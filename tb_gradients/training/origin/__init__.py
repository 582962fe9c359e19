"""Where in the user's program a gradient was lost: which operation, on which line.

``traced`` keeps what a traced step says, ``lines`` finds the line of an operation, ``cuts`` reads
from the graph where a gradient ends, ``copying`` and ``repeating`` run a step a second time outside
of the training to see where its numbers broke, ``explainer`` does each of this when a flag asks.
"""
