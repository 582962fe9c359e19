"""The table knows which layer feeds which: reported by the model, or read from the traced step."""

from __future__ import annotations

import pathlib
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tb_gradients as tbg
from tb_gradients.frames import VariableTable
from tb_gradients.judging.paths import Paths
from tb_gradients.training.model.variables import key_of, make_table, trainable_variables
from tb_gradients.training.tracing.topology import graph_of_model, with_graph

layers = keras.layers


def table_of(model: Any) -> VariableTable:
    variables = trainable_variables([model])
    graph = graph_of_model(model)
    return with_graph(make_table(variables, model), [key_of(v) for v in variables], graph)


def around(table: VariableTable, name: str) -> set[str]:
    """Names of the layers that a layer of this name can explain."""
    rows = [row for row, path in enumerate(table.paths) if name in path.split("/")]
    assert rows, f"{name} is not among {table.paths}"
    near = Paths(table).around(rows)
    return {table.paths[row].split("/")[-2] for row in np.flatnonzero(near)}


def dense(name: str, units: int = 4, **options: Any) -> Any:
    return layers.Dense(units, name=name, **options)


def two_branches() -> Any:
    inputs = keras.Input((4,))
    trunk = dense("trunk")(inputs)
    one = layers.Dropout(0.1)(dense("one")(trunk))
    other = dense("other_2")(keras.ops.relu(dense("other_1")(trunk)))
    return keras.Model(inputs, dense("head")(layers.Concatenate()([one, other])))


def test_parallel_branches_of_a_functional_model_do_not_explain_each_other() -> None:
    table = table_of(two_branches())

    assert around(table, "one") == {"trunk", "one", "head"}
    assert around(table, "other_1") == {"trunk", "other_1", "other_2", "head"}


def test_a_chain_explains_all_of_itself() -> None:
    model = keras.Sequential([keras.Input((4,)), *(dense(name) for name in "abc")])

    assert around(table_of(model), "b") == {"a", "b", "c"}


def test_a_shortcut_is_a_path() -> None:
    inputs = keras.Input((4,))
    first = dense("first")(inputs)
    model = keras.Model(inputs, dense("head")(layers.add([first, dense("block")(first)])))

    assert around(table_of(model), "block") == {"first", "block", "head"}


def test_a_model_within_the_model_is_looked_into() -> None:
    inputs = keras.Input((4,))
    model = keras.Model(inputs, dense("last")(two_branches()(dense("before")(inputs))))
    table = table_of(model)

    assert around(table, "one") == {"before", "trunk", "one", "head", "last"}
    assert around(table, "before") == {
        *("before", "trunk", "one", "other_1", "other_2", "head", "last")
    }


def test_a_layer_that_is_called_twice_is_connected_to_both_places() -> None:
    inputs = keras.Input((4,))
    shared = dense("shared")
    model = keras.Model(inputs, dense("head")(shared(dense("between")(shared(inputs)))))

    assert around(table_of(model), "shared") == {"shared", "between", "head"}


def test_an_output_that_nobody_uses_dangles() -> None:
    inputs = keras.Input((4,))
    body = dense("body")(inputs)
    backbone = keras.Model(inputs, {"sequence": body, "pooled": dense("pooler")(body)})
    model = keras.Model(inputs, dense("head")(backbone(inputs)["sequence"]))
    table = table_of(model)

    dangling = Paths(table).dangle(range(len(table.variables)))

    assert {table.paths[row] for row in np.flatnonzero(dangling)} == {
        "pooler/kernel",
        "pooler/bias",
    }


def test_every_layer_gets_what_all_layers_before_it_give_in_a_graph_of_linear_size() -> None:
    inputs = x = keras.Input((4,))
    for number in range(40):
        x = layers.Concatenate()([x, dense(f"dense_{number}")(x)])
    table = table_of(keras.Model(inputs, x))

    assert around(table, "dense_20") == {f"dense_{number}" for number in range(40)}
    assert sum(len(fed_by) for fed_by in table.nodes) < 4 * 40


class Own(keras.Model):  # type: ignore[misc]
    """Nothing but ``call`` knows what feeds what."""

    def __init__(self) -> None:
        super().__init__()
        self.head = dense("head", 1, kernel_regularizer="l2")
        self.never = dense("never")
        self.never.build((None, 4))
        self.words = layers.Embedding(10, 4, name="words")
        self.recurrent = layers.GRU(4, name="recurrent")
        self.norm = layers.BatchNormalization(name="norm")
        self.attention = layers.MultiHeadAttention(2, 3, name="attention")
        self.one, self.other = dense("one", activation="relu"), dense("other")

    def call(self, x: Any) -> Any:
        x = self.words(x)
        x = self.norm(self.recurrent(x + self.attention(x, x)))
        return self.head(tf.concat([self.one(x), tf.stop_gradient(self.other(x))], -1))


X = np.arange(24).reshape(8, 3) % 10
Y = np.zeros((8, 1), np.float32)
TRUNK = {"words", "recurrent", "gru_cell", "norm", "query", "key", "value", "attention_output"}


def names(found: set[str]) -> set[str]:
    """Of the cell of a recurrent layer that of the layer: Keras' versions differ."""
    return {"recurrent" if name == "gru_cell" else name for name in found}


def of_fit(folder: pathlib.Path, **compiled: Any) -> VariableTable:
    model, health = Own(), tbg.GradientHealth(folder, verbose=0)
    model(X)
    model.compile("sgd", "mse", **compiled)
    model.fit(X, Y, batch_size=4, verbose=0, callbacks=[health])
    return stored(folder)


def stored(folder: pathlib.Path) -> VariableTable:
    from tb_gradients.reading.event_files import EventFileSource

    return EventFileSource(folder).read(".").recordings[-1].table


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_graph_of_a_subclassed_model_is_read_from_its_traced_step(
    jit_compile: bool, tmp_path: pathlib.Path
) -> None:
    table = of_fit(tmp_path, jit_compile=jit_compile)
    trunk = names(TRUNK)

    assert names(around(table, "one")) == {*trunk, "one", "head", "never"}
    assert names(around(table, "other")) == {*trunk, "other", "head", "never"}
    assert [v.path for v in table.variables if not v.node and "never" not in v.path] == []


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
def test_so_is_that_of_a_custom_training_loop(tmp_path: pathlib.Path) -> None:
    model, optimizer = Own(), keras.optimizers.SGD()
    model(X)
    with tbg.watch(optimizer, tmp_path, model=model, verbose=0) as monitor:

        @tf.function  # type: ignore[untyped-decorator]
        def train_step(x: Any, y: Any) -> Any:
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean((model(x, training=True) - y) ** 2)
            variables = model.trainable_variables
            gradients = tape.gradient(loss, variables)
            kept = [(g, v) for g, v in zip(gradients, variables, strict=True) if g is not None]
            optimizer.apply_gradients([(tf.clip_by_norm(g, 1.0), v) for g, v in kept])
            return loss

        for _ in range(3):
            monitor.step(loss=train_step(tf.constant(X), tf.constant(Y)))

    assert names(around(stored(tmp_path), "one")) == {*names(TRUNK), "one", "head", "never"}


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
def test_of_an_eager_step_of_such_a_model_nothing_is_known(tmp_path: pathlib.Path) -> None:
    table = of_fit(tmp_path, run_eagerly=True)

    assert table.nodes == ()
    assert len(around(table, "one")) > 8
