"""The gradient of the planted operation grows from step to step, until it is large.

The learning rate is so small that nothing else grows: the steps themselves are not at fault.
"""

from __future__ import annotations

import tensorflow as tf

from origin_programs.snippets import snippet

_schedules = [tf.Variable(0.0) for _ in range(6)]


def _progress(program):
    """Steps so far, which a schedule of the program's own counts."""
    return _schedules[program].assign_add(1.0)


@snippet()
def rising_gain(h):
    gain = tf.exp(0.07 * _progress(0))
    return h * gain  # planted: Mul


@snippet()
def falling_temperature(h):
    temperature = tf.exp(-0.07 * _progress(1))
    return h / temperature  # planted: RealDiv


@snippet()
def rising_exponent(h):
    power = 1.0 + 0.04 * _progress(2)
    return tf.pow(3.0 + tf.abs(h), power)  # planted: Pow


@snippet()
def rising_sharpness(h):
    sharpness = 1.0 + 0.05 * _progress(3)
    wide = (2.0 + tf.nn.tanh(h)) * sharpness
    return tf.exp(wide)  # planted: Exp


@snippet()
def rising_degree(h):
    high = tf.cast(_progress(4) > 60.0, tf.float32)
    cube = tf.pow(5.0 + tf.abs(h), 1.0 + 3.0 * high)  # planted: Pow
    return cube + 1.0


@snippet()
def rising_amplitude(h):
    amplitude = 1.1 ** _progress(5)
    return amplitude * tf.sin(h)  # planted: Mul
