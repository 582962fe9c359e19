"""The variable table names every variable once, in network order, with the facts of its layer."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from models import TwoLayers

from tb_gradients.frames import Variable, VariableTable
from tb_gradients.training.model.layers import values_normalized
from tb_gradients.training.model.variables import key_of, make_table, trainable_variables

layers = keras.layers


def table_of(model: keras.Model, **compiled: object) -> VariableTable:
    if compiled:
        model.compile(**compiled)
    optimizer = model.optimizer if compiled else None
    return make_table(trainable_variables([model]), model, optimizer)


def by_name(table: VariableTable, ending: str) -> Variable:
    (variable,) = [v for v in table.variables if v.path.endswith(ending)]
    return variable


def test_a_dense_model_with_its_activations_and_initializers() -> None:
    model = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(3, activation="tanh", kernel_initializer="he_normal", name="a"),
            layers.Dense(2, name="b"),
            layers.Dropout(0.5),
            layers.Softmax(),
        ]
    )
    table = table_of(model)
    assert [v.path.rpartition("/")[0].rpartition("/")[2] for v in table.variables] == list("aabb")
    kernel = by_name(table, "a/kernel")
    assert (kernel.role, kernel.activation, kernel.initializer) == ("kernel", "tanh", "HeNormal")
    assert (kernel.shape, kernel.unit_axis, kernel.units) == ((4, 3), 1, 3)
    assert kernel.initial_rms > 0
    assert by_name(table, "a/bias").initial_rms == 0
    assert by_name(table, "b/kernel").activation == "softmax"  # of the layer behind it


def test_a_single_input_of_a_keras_2_layer_is_no_list() -> None:
    """``node.input_tensors`` is the tensor itself, which cannot be iterated over."""

    class Node:
        input_tensors = keras.KerasTensor((None, 6))

    class LayerNormalization:
        _inbound_nodes = (Node(),)

    assert values_normalized(LayerNormalization()) == 6


def test_a_bias_before_a_normalisation_has_a_gradient_of_zero_by_construction() -> None:
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(4, 3, name="plain"),
            layers.ReLU(),
            layers.Conv2D(4, 3, name="normalised"),
            layers.BatchNormalization(name="norm"),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dense(2, name="head"),
            layers.LayerNormalization(),
        ]
    )
    table = table_of(model)
    zero = [v.path for v in table.variables if v.analytically_zero]
    assert len(zero) == 1 and zero[0].endswith("normalised/bias")
    assert by_name(table, "norm/beta").role == "bias"
    assert by_name(table, "norm/gamma").role == "scale"
    assert by_name(table, "normalised/kernel").activation == "relu"


def test_attention_recurrent_and_embedding_variables_have_their_roles() -> None:
    inputs = keras.Input((6,), dtype="int32")
    x = layers.Embedding(10, 8, name="words")(inputs)
    x = layers.MultiHeadAttention(2, 4, name="attention")(x, x)
    x = layers.GRU(5, name="gru")(x)
    model = keras.Model(inputs, layers.Dense(1, name="out")(x))
    table = table_of(model)
    assert by_name(table, "words/embeddings").role == "embedding"
    assert by_name(table, "words/embeddings").unit_axis == -1
    assert by_name(table, "recurrent_kernel").role == "recurrent_kernel"
    assert by_name(table, "attention/key/bias").analytically_zero
    assert not by_name(table, "attention/query/bias").analytically_zero
    gru_bias = [v for v in table.variables if v.role == "bias" and len(v.shape) == 2]
    assert gru_bias  # GRU and attention have biases of rank 2: no kernels


def test_the_units_of_a_transposed_convolution_are_on_the_axis_before_the_last() -> None:
    model = keras.Sequential([keras.Input((4, 4, 3)), layers.Conv2DTranspose(5, 2, name="up")])
    kernel = by_name(table_of(model), "up/kernel")
    assert kernel.shape[kernel.unit_axis] == kernel.units == 5


def test_shared_layers_and_nested_models_are_listed_once() -> None:
    shared = layers.Dense(4, name="shared")
    inner = keras.Sequential([keras.Input((4,)), shared, layers.Dense(4, name="own")], name="inner")
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Add()([shared(inputs), inner(shared(inputs))]))
    paths = table_of(model).paths
    assert len(paths) == len(set(paths)) == 4


def test_hand_made_variables_of_one_name_stay_apart() -> None:
    variables = [tf.Variable(np.ones((2, 2), np.float32), name="w") for _ in range(2)]
    table = make_table(variables)
    assert table.paths == ("w", "w#2")
    assert [v.role for v in table.variables] == ["kernel", "kernel"]


def test_the_run_is_described() -> None:
    model = keras.Sequential([keras.Input((2,)), layers.Dense(3, activation="softmax")])
    table = table_of(
        model,
        optimizer=keras.optimizers.SGD(0.1, momentum=0.9),
        loss="sparse_categorical_crossentropy",
        steps_per_execution=4,
    )
    run = table.run
    assert (run.optimizer, run.optimizer_config["momentum"]) == ("SGD", "0.9")
    assert run.steps_per_execution == 4
    assert run.facts["head_activation"] == "softmax"
    assert run.versions["keras"] == keras.__version__


def front_facts(*front: Any) -> dict[str, str]:
    """Of a model of these steps, a convolution and a head."""
    x = inputs = keras.Input((8, 8, 3))
    for step in front:
        x = step(x)
    x = layers.Flatten()(layers.Conv2D(4, 3)(x))
    return dict(table_of(keras.Model(inputs, layers.Dense(2)(x))).run.facts)


@pytest.mark.parametrize(
    ("front", "scaling"),
    [
        ([layers.Rescaling(1 / 255)], "Rescaling"),
        ([keras.Sequential([layers.RandomFlip()]), layers.Rescaling(1 / 255)], "Rescaling"),
        ([keras.Sequential([layers.Rescaling(1 / 255), layers.Conv2D(3, 1)])], "Rescaling"),
        ([lambda x: x / 127.5 - 1], "TrueDivide"),
        ([lambda x: keras.ops.cast(x, "float32") * 0.01], "Multiply"),
        ([layers.Lambda(lambda x: x / 255)], "Lambda"),
        ([], None),
        ([keras.Sequential([layers.RandomFlip()])], None),
        ([keras.Sequential([layers.Conv2D(3, 1), layers.Rescaling(1 / 255)])], None),
        ([lambda x: keras.ops.reshape(x, (-1, 4, 16, 3))], None),
    ],
)
def test_what_scales_the_inputs_is_found_in_a_model_within_the_model_too(
    front: list[Any], scaling: str | None
) -> None:
    facts = front_facts(*front)
    assert facts.get("input_scaling") == scaling
    assert scaling or facts["first_layer"] == "Conv2D"


@pytest.mark.parametrize("sequential", [True, False])
def test_the_front_of_a_pretrained_base_is_that_of_the_model(sequential: bool) -> None:
    inputs = keras.Input((8, 8, 3))
    base = keras.Model(inputs, layers.Conv2D(4, 3)(layers.Normalization()(inputs)), name="base")
    base.trainable = False
    head = [base, layers.Flatten(), layers.Dense(2)]
    model = keras.Sequential([keras.Input((8, 8, 3)), *head])
    if not sequential:
        x = keras.Input((8, 8, 3))
        model = keras.Model(x, head[2](head[1](base(x, training=False))))
    assert table_of(model).run.facts["input_scaling"] == "Normalization"


def test_which_layer_of_a_model_with_a_call_of_its_own_is_the_last_is_not_guessed() -> None:
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(3, "relu"), layers.Dense(2)])
    several = keras.Model(inner.inputs, [inner.layers[0].output, inner.outputs[0]])
    subclassed = TwoLayers()
    subclassed(np.ones((1, 4), np.float32))

    assert table_of(inner).run.facts["head_activation"] == "linear"
    assert "head" not in table_of(subclassed).run.facts
    assert "head" not in table_of(several).run.facts


class Transposed(layers.Layer):  # type: ignore[misc]
    """A decoder with the weights of its encoder."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder

    def build(self, shape: Any) -> None:
        self.offset = self.add_weight(shape=(4,), name="offset")

    def call(self, x: Any) -> Any:
        return tf.sigmoid(tf.matmul(x, self.encoder.kernel, transpose_b=True) + self.offset)


def test_what_a_layer_of_ones_own_makes_at_the_end_is_not_known() -> None:
    x = keras.Input((4,))
    encoder = layers.Dense(2, activation="tanh")
    tied = keras.Model(x, Transposed(encoder)(encoder(x)))
    squashed = keras.Model(x, layers.Lambda(tf.sigmoid)(layers.Dense(1)(x)))
    softened = keras.Model(x, layers.Dropout(0.1)(layers.Softmax()(layers.Dense(3)(x))))

    assert "head" not in table_of(tied).run.facts
    assert "head" not in table_of(squashed).run.facts
    assert table_of(softened).run.facts["head_activation"] == "softmax"


@pytest.mark.parametrize("wrap", [lambda v: v, lambda v: v.value], ids=["keras", "tensorflow"])
def test_a_variable_is_found_again_in_either_wrapper(wrap: object) -> None:
    dense = layers.Dense(2)
    dense.build((None, 3))
    assert callable(wrap)
    assert key_of(wrap(dense.kernel)) == key_of(dense.kernel)
    assert key_of(dense.kernel) != key_of(dense.bias)


def test_the_table_survives_the_file() -> None:
    model = keras.Sequential([keras.Input((2,)), layers.Dense(3)])
    table = table_of(model, optimizer="adam", loss="mse")
    assert VariableTable.from_bytes(table.to_bytes()) == table
