"""What the host does with what the training step has left: frames, a schedule, a journal, a file.

In:  samples and sums of gradients, weights and updates, as arrays.
Out: frames, judged and written.
Does not know about TensorFlow: another framework can use it as it is.
"""
