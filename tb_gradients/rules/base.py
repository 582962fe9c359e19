"""What a rule is: a name, what it needs, and one pure function from a window to findings.

In:  a ``Window``: the last frames of a run, as arrays.
Out: ``Finding``s with the numbers that decided them.
Does not know about files, TensorFlow, TensorBoard, or how flags open and close.
"""
