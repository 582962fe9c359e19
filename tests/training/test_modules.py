"""Variables of a ``tf.Module`` have the names of the attributes that hold them."""

from __future__ import annotations

import pathlib
from typing import Any

import keras
import pytest
import tensorflow as tf

import tb_gradients as tbg
from tb_gradients.training.model.variables import make_table


class Parameter(tf.Module):
    """As those of GPflow and TensorFlow Probability: the variable is in a private attribute."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self._unconstrained = tf.Variable(value)


class Kernel(tf.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lengthscales = Parameter([0.5, 0.7])
        self.variance = Parameter(1.0)


class Process(tf.Module):
    def __init__(self) -> None:
        super().__init__()
        self.kernel = Kernel()
        self.parts = [Parameter([1.0, 2.0]), Parameter([3.0, 4.0])]
        self.weights = tf.Variable([[1.0, 2.0], [3.0, 4.0]])

    def loss(self) -> Any:
        return sum(tf.reduce_sum(v**2) for v in self.trainable_variables)


EXPECTED = {
    "kernel.lengthscales",
    "kernel.variance",
    "parts[0]",
    "parts[1]",
    "weights",
}


def train(folder: pathlib.Path, module: Process, **watched: Any) -> tuple[str, ...]:
    optimizer = keras.optimizers.SGD(0.1)
    variables = list(module.trainable_variables)
    with tbg.watch(optimizer, folder, every=1, verbose=0, **watched) as monitor:
        for _ in range(3):
            with tf.GradientTape() as tape:
                loss = module.loss()
            optimizer.apply(tape.gradient(loss, variables), variables)
            monitor.step(loss)
    assert monitor.errors == ()
    (run,) = tbg.load(folder).runs
    return run.variables.paths


def test_of_a_module_that_is_the_model(tmp_path: pathlib.Path) -> None:
    module = Process()
    assert set(train(tmp_path, module, model=module)) == EXPECTED


def test_of_variables_without_names(tmp_path: pathlib.Path) -> None:
    module, other = Process(), Process()
    assert set(train(tmp_path, module, variables=list(module.trainable_variables))) == EXPECTED
    assert other.trainable_variables


def test_of_two_modules(tmp_path: pathlib.Path) -> None:
    class Both(tf.Module):
        pass

    first, second = Process(), Process()
    variables = [*first.trainable_variables, *second.trainable_variables]
    optimizer = keras.optimizers.SGD(0.1)
    with tbg.watch(optimizer, tmp_path, every=1, verbose=0, variables=variables) as monitor:
        for _ in range(3):
            with tf.GradientTape() as tape:
                loss = first.loss() + second.loss()
            optimizer.apply(tape.gradient(loss, variables), variables)
            monitor.step(loss)
    (run,) = tbg.load(tmp_path).runs
    assert len(set(run.variables.paths)) == 10
    assert sum(path.endswith("kernel.lengthscales") for path in run.variables.paths) == 2


def test_names_that_distinguish_variables_stay(tmp_path: pathlib.Path) -> None:
    module = tf.Module()
    module.first = tf.Variable([1.0], name="w")
    module.second = tf.Variable([2.0], name="b")
    optimizer = keras.optimizers.SGD(0.1)
    variables = [module.first, module.second]
    with tbg.watch(optimizer, tmp_path, variables=variables, every=1, verbose=0) as monitor:
        for _ in range(3):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(module.first**2 + module.second**2)
            optimizer.apply(tape.gradient(loss, variables), variables)
            monitor.step(loss)
    (run,) = tbg.load(tmp_path).runs
    assert run.variables.paths == ("w", "b")


@pytest.mark.parametrize("name", ["kernel.variance", "weights"])
def test_the_last_attribute_shows_the_role(name: str) -> None:
    module = Process()
    table = make_table(list(module.trainable_variables), module)
    (variable,) = [one for one in table.variables if one.path == name]
    assert (variable.role == "kernel") == (name == "weights")
    assert variable.module == name.rpartition(".")[0]
