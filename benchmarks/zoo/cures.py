"""Apply the advice of a finding to the program that it was given for, and train that again.

In:  a recipe, and a fix as the rules write it.
Out: how the program ends with the advice followed; ``None`` where the fix is no code.
Does not know which rule gave the fix, or what is wrong with the program.

Nothing is guessed: what the fix says is done, as somebody would who pastes it. An optimizer, a loss
or a layer of that name takes the place of the program's; arguments go to the layers that the
sentence names; statements about ``x`` and ``y`` are run on the data.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tb_gradients.flags import snippets
from zoo import recipes
from zoo.data import Data
from zoo.recipes import Outcome, Recipe

NAMES = {"keras": keras, "np": np, "tf": tf}

LAYERS = (
    keras.layers.Dense,
    keras.layers.Conv2D,
    keras.layers.Embedding,
    keras.layers.GRU,
    keras.layers.LSTM,
    keras.layers.SimpleRNN,
    keras.layers.Activation,
)

_SPAN = re.compile(r"(?:In (?P<where>[^`]*?))?`(?P<code>[^`]+)`")
_OF_DATA = re.compile(r"(x|y|mean|low|keep|\w+, \w+) ?=|(low, high|mean, std) =")
_NAMES = re.compile(r"([\w/]+)(?: to ([\w/]+))?")


@dataclasses.dataclass
class Changes:
    """What a fix changes.

    Attributes:
        recipe: fields of the recipe.
        optimizer, loss: code that makes them.
        layers: arguments by the name of the layer.
        replaced: code of another layer, by the name of the layer it replaces.
        data: statements about x and y.
    """

    recipe: dict[str, Any] = dataclasses.field(default_factory=dict)
    optimizer: str = ""
    loss: str = ""
    layers: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    replaced: dict[str, str] = dataclasses.field(default_factory=dict)
    data: str = ""

    def then(self, later: Changes) -> Changes:
        """These changes, and later ones on top of them."""
        layers = {name: dict(arguments) for name, arguments in self.layers.items()}
        for name, arguments in later.layers.items():
            layers.setdefault(name, {}).update(arguments)
        return Changes(
            {**self.recipe, **later.recipe},
            later.optimizer or self.optimizer,
            later.loss or self.loss,
            layers,
            {**self.replaced, **later.replaced},
            "\n".join(filter(None, (self.data, later.data))),
        )

    def __bool__(self) -> bool:
        return any(getattr(self, field.name) for field in dataclasses.fields(self))


def read(fix: str, layers: Sequence[str]) -> Changes:
    """What the code of a fix says; the first one, where the sentence gives several to choose from.

    Args:
        fix: the sentence.
        layers: names of the model's layers, in network order.
    """
    changes = Changes()
    for match in _SPAN.finditer(fix):
        code = match["code"]
        if arguments := _arguments(code):
            names = _listed(layers, match["where"] or "") or _between(
                layers, *_named_before(fix[: match.start()])
            )
            for name in names:
                changes.layers.setdefault(name, {}).update(arguments)
        elif code in snippets(fix):
            if changes:
                continue  # another way to do the same
            _statement(code, fix, layers, changes)
    return changes


def _statement(code: str, fix: str, layers: Sequence[str], changes: Changes) -> None:
    if code.startswith("keras.optimizers."):
        changes.optimizer = code
    elif code.startswith("keras.losses."):
        changes.loss = code
    elif code.startswith("keras.mixed_precision.set_global_policy"):
        changes.recipe["precision"] = ast.literal_eval(code.partition("(")[2].rstrip(")"))
    elif code.startswith("model.fit(") and "class_weight" in code:
        call = ast.parse(code, mode="eval").body
        assert isinstance(call, ast.Call)
        [weights] = [k.value for k in call.keywords if k.arg == "class_weight"]
        changes.recipe["class_weight"] = ast.literal_eval(weights)
    elif code.startswith("optimizer.apply("):
        changes.recipe["apply"] = "all"
    elif code.startswith("keras.layers."):
        named = re.search(r'name="(\w+)"', code) or re.search(r"instead of [\w/]*?(\w+)[;,.]", fix)
        named = named or re.search(r"last layer (\w+)", fix)
        if named:
            changes.replaced[named[1]] = code
    elif "keras." not in code and re.match(
        r"(x|y|mean|low|keep|\w+, \w+) ?=|(low, high|mean, std) =", code
    ):
        changes.data = code


def _arguments(code: str) -> dict[str, Any]:
    """Arguments of a layer as values; empty where it is something else."""
    if not re.match(r"\w+=\S", code):
        return {}
    call = ast.parse(f"f({code})", mode="eval").body
    assert isinstance(call, ast.Call)
    return {str(k.arg): _value(ast.unparse(k.value)) for k in call.keywords}


def _value(code: str) -> Any:
    return eval(code, dict(NAMES))


def _named_before(text: str) -> tuple[str | None, str | None]:
    """The layers that the words before a code name last: ``Start a/b at random: ``"""
    found = re.findall(r"(?:Start |, |In )([\w/]+)(?: to ([\w/]+))?", text)
    return found[-1] if found else (None, None)


def _listed(layers: Sequence[str], words: str) -> list[str]:
    """The layers that a sentence names: ``a/b, a/c to a/f and head use``."""
    return [name for ends in _NAMES.findall(words) for name in _between(layers, *ends)]


def _between(layers: Sequence[str], first: str | None, last: str | None) -> list[str]:
    ends = [name.rpartition("/")[2] for name in (first or "", last or first or "")]
    if not all(name in layers for name in ends):
        return []
    return list(layers[layers.index(ends[0]) : layers.index(ends[1]) + 1])


# --- training with it -----------------------------------------------------------------------


def train(recipe: Recipe, changes: Changes, seed: int, folder: str) -> Outcome:
    """Train the program as it is with the fix."""
    recipe = recipe.but(**changes.recipe)
    with _made_otherwise(changes):
        if changes.data:
            return _on_other_data(recipe, changes.data, seed, folder)
        return recipes.train(recipe, seed, folder)


def _on_other_data(recipe: Recipe, statement: str, seed: int, folder: str) -> Outcome:
    """Whoever changes the data that are trained on does the same to those that are predicted."""

    def changed() -> Data:
        data = original()
        if recipe.corrupt is not None:
            data = recipe.corrupt(data, np.random.default_rng(seed))
        scope = {**NAMES, "x": data.x, "y": data.y}
        exec(statement, scope)
        return dataclasses.replace(
            data, x=scope["x"].astype(data.x.dtype), y=scope["y"].astype(data.y.dtype)
        )

    original = recipes.DATA[recipe.data]
    with _set(recipes.DATA, recipe.data, changed):
        return recipes.train(recipe.but(corrupt=None), seed, folder)


@contextlib.contextmanager
def _set(table: dict[str, Any], key: str, value: Any) -> Iterator[None]:
    before = table[key]
    table[key] = value
    try:
        yield
    finally:
        table[key] = before


@contextlib.contextmanager
def _made_otherwise(changes: Changes) -> Iterator[None]:
    """Meanwhile optimizer, loss and layers are made as the fix says."""
    with contextlib.ExitStack() as stack:
        if changes.optimizer:
            stack.enter_context(
                _patched(recipes, "make_optimizer", lambda *_: _value(changes.optimizer))
            )
        if changes.loss:
            stack.enter_context(_patched(recipes, "make_loss", lambda *_: _value(changes.loss)))
        arguments = {**changes.layers}
        for name, code in changes.replaced.items():
            call = ast.parse(code, mode="eval").body
            assert isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)
            kind = call.func.attr
            if kind == "Dense":  # what it does not say is left at its default
                arguments[name] = {
                    "activation": None,
                    **{str(k.arg): _value(ast.unparse(k.value)) for k in call.keywords},
                }
            else:
                other = getattr(keras.layers, kind)
                stack.enter_context(_patched(keras.layers, "SimpleRNN", _instead(other)))
        for kind in LAYERS:
            if arguments:
                stack.enter_context(_patched(kind, "__init__", _with(kind.__init__, arguments)))
        yield


def _instead(kind: Any) -> Callable[..., Any]:
    """Another recurrent layer, with what it shares with the one that it replaces."""

    def make(*arguments: Any, **named: Any) -> Any:
        kept = {k: v for k, v in named.items() if k in ("units", "name", "return_sequences")}
        return kind(*arguments, **kept)

    return make


def _with(original: Callable[..., None], arguments: Mapping[str, Mapping[str, Any]]) -> Any:
    def initialise(self: Any, *given: Any, **named: Any) -> None:
        name = str(named.get("name", ""))
        extra = dict(arguments.get(name, {}))
        if isinstance(self, keras.layers.Activation):
            # A layer's activation may be a layer of its own.
            extra = dict(arguments.get(name.replace("act_", "dense_"), {}))
            extra = extra or dict(arguments.get(name.replace("act_", "conv_"), {}))
            if "activation" in extra:
                given, extra = (), {"activation": extra["activation"]}
            else:
                extra = {}
        elif "activation" in extra and "activation" not in named:
            del extra["activation"]
        original(self, *given, **{**named, **extra})

    return initialise


@contextlib.contextmanager
def _patched(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
