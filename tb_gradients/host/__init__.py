"""The work of the host after a training step: frames, schedule, journal, event file.

In:  samples and sums of gradients, weights and updates, as arrays.
Out: frames, judged and written.
Does not know about TensorFlow: another framework can use it as it is.
"""
