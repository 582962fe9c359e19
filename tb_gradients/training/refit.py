"""Trace the training function of a model again, with the variables that it trained before.

In:  a compiled Keras model, before a ``fit``.
Out: its training function, to be traced with the probe in it; what of it is not as the model says.
Does not know about probes, tables or rules.

Keras reads the settings of a model while it traces a step: which weights are trainable, whether
XLA compiles it, how many steps an execution has. It uses a trace until the next ``compile``,
whatever was set since. The trace of an earlier ``fit`` has no probe, so the step is traced again,
with the settings of the earlier trace: the same weights are trained as without the monitor.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tb_gradients.training.model.layers import flat_layers
from tb_gradients.training.model.variables import key_of, own_trainable
from tb_gradients.training.optimizers.settings import optimizers_of
from tb_gradients.training.tracing.traces import (
    concrete_functions,
    functions_in,
    steps_of,
    written_by,
)

logger = logging.getLogger("tb_gradients")

Flags = Mapping[int, tuple[Any, bool]]
"""id -> layer or variable, and whether it is trainable."""

Specs = tuple[Any, ...]

_TRACES = "_tb_gradients_traces"


@dataclasses.dataclass(frozen=True)
class Trace:
    """One trace of a training step.

    Attributes:
        specs: of its data; None: not known.
        flags: of all layers and variables while it was traced.
        optimizer: of the model while it was traced.
    """

    specs: Specs | None
    flags: Flags
    optimizer: Any

    def takes(self, specs: Specs | None) -> bool:
        """Whether it is used for data of these specs."""
        if self.specs is None or specs is None:
            return True
        if len(self.specs) != len(specs):
            return False
        pairs = zip(specs, self.specs, strict=True)
        return all(given.is_subtype_of(known) for given, known in pairs)


class Refit:
    """Makes the training function of a model anew, with what an earlier ``fit`` has left.

    Args:
        model: a compiled model of Keras 3; of ``tf_keras`` nothing is known.

    Attributes:
        frozen: variables that are trainable now, and are not trained.
        trained: variables that are not trainable now, and are trained.
        optimizers: that train the model.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._traces: list[Trace] = []
        self._steps: int | None = None
        self._stays = False
        try:
            self._read(getattr(model, "train_function", None))
        except Exception:  # another Keras than those known: its functions may be made otherwise
            logger.debug("tb_gradients cannot read the earlier training function", exc_info=True)
        self._force = _Force()
        self.optimizers = optimizers_of(model)
        for trace in self._traces:
            if trace.optimizer is not model.optimizer:
                with _attribute(model, "optimizer", trace.optimizer):
                    found = optimizers_of(model)
                self.optimizers = found + [one for one in self.optimizers if one not in found]
        flags = self._traces[0].flags if self._traces else {}
        changed = [(thing, then) for thing, then in flags.values() if thing.trainable != then]
        self.frozen = [thing for thing, then in changed if _is_variable(thing) and not then]
        self.trained = [thing for thing, then in changed if _is_variable(thing) and then]

    def _read(self, old: Any) -> None:
        """Read the traces, newest first, of the training function."""
        concrete = concrete_functions(old)
        counts = [steps_of(one) for one in concrete if _specs(one) is _OF_ITERATOR]
        self._steps = counts[-1] if counts else None
        recorded = getattr(old, _TRACES, None)
        if recorded is not None:
            self._traces = list(recorded)
            return
        steps = [one for one in concrete if _specs(one) is not _OF_ITERATOR]
        if not steps:
            return
        written = set().union(*(written_by(step) for step in steps))
        optimizers = _with_parts(optimizers_of(self._model))
        variables = [v for one in optimizers for v in getattr(one, "variables", None) or ()]
        # What another optimizer has trained would be trained by this one.
        self._stays = not any(key_of(variable) in written for variable in variables)
        flags = _flags_then(self._model, written, optimizers)
        optimizer = self._model.optimizer
        self._traces = [Trace(_specs(one), flags, optimizer) for one in reversed(steps)]

    def make(self) -> None:
        """Make the training function anew, as the earlier one was made."""
        model = self._model
        if self._stays:
            logger.warning(
                "tb_gradients: the optimizer was replaced after compile. Keras goes on with the "
                "one before, which cannot be watched; call model.compile(...) to change it"
            )
            return
        if not hasattr(model, "jit_compile") or not hasattr(model, "run_eagerly"):
            model.make_train_function(force=True)
            return
        original = model.train_step

        @functools.wraps(original)
        def train_step(*arguments: Any, **named: Any) -> Any:
            with self._settings(arguments, named):
                return original(*arguments, **named)

        # Keras reads `train_step` while it makes the function, or while it traces it.
        with _built_like(model, model.train_function), _attribute(model, "train_step", train_step):
            model.make_train_function(force=True)
        function = model.train_function
        if function is not None:
            function = model.train_function = self._as_before(function, train_step)
            setattr(function, _TRACES, self._traces)

    def warn(self) -> None:
        """Warn of weights that are not trained as the model says."""
        for weights, state in ((self.frozen, "not trained"), (self.trained, "still trained")):
            if weights:
                names = ", ".join(weight.path for weight in weights[:3])
                more = f" and {len(weights) - 3} more" if len(weights) > 3 else ""
                logger.warning(
                    "tb_gradients: `trainable` was changed after compile. Keras looks at it again "
                    "after the next model.compile(...); until then %s%s: %s",
                    names,
                    more,
                    state,
                )

    @contextlib.contextmanager
    def with_trained(self) -> Iterator[None]:
        """Within it all variables that are trained are trainable."""
        keys = {key_of(variable) for variable in self.trained}
        holders = [layer for layer in flat_layers(self._model) if keys & _keys_in(layer)]
        with _Force().of({id(thing): (thing, True) for thing in (*holders, *self.trained)}):
            yield

    @contextlib.contextmanager
    def _settings(self, arguments: Sequence[Any], named: Mapping[str, Any]) -> Iterator[None]:
        """Within it the model is as it was when a step for such data was traced first."""
        if tf.executing_eagerly():  # which reads the model at every step
            yield
            return
        specs = _specs_of((arguments, dict(named)))
        earlier = next((trace for trace in self._traces if trace.takes(specs)), None)
        if earlier is None:
            trace = Trace(specs, _flags_now(self._model), self._model.optimizer)
            self._traces.insert(0, trace)
            yield
            return
        with self._force.of(earlier.flags), _attribute(self._model, "optimizer", earlier.optimizer):
            yield

    def _as_before(
        self, function: Callable[..., Any], train_step: Callable[..., Any]
    ) -> Callable[..., Any]:
        """The function, traced as that of the earlier ``fit``."""
        model = self._model

        @functools.wraps(function)
        def train_function(iterator: Any) -> Any:
            steps = self._steps or model.steps_per_execution
            with (
                _attribute(model, "train_step", train_step),
                _attribute(model, "steps_per_execution", steps),
            ):
                return function(iterator)

        return train_function


class _Force:
    """Sets what is trainable, for a while.

    Replicas trace a step at the same time, in threads of their own: the first one sets the flags,
    the last one sets them back.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._before: list[tuple[Any, bool]] = []

    @contextlib.contextmanager
    def of(self, flags: Flags) -> Iterator[None]:
        with self._lock:
            if not self._users:
                changed = [(t, then) for t, then in flags.values() if t.trainable != then]
                self._before = [(thing, not then) for thing, then in changed]
                _assign(changed)
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    _assign(self._before)


def _assign(flags: Sequence[tuple[Any, bool]]) -> None:
    for thing, value in flags:
        if _is_variable(thing):
            thing.trainable = value
        else:  # a layer; its property would set all that is in it, too
            thing._trainable = value


def _is_variable(thing: Any) -> bool:
    return hasattr(thing, "assign")


def _keys_in(layer: Any) -> set[Any]:
    return {key_of(variable) for one in flat_layers(layer) for variable in own_trainable(one)}


def _flags_now(model: Any) -> Flags:
    layers = flat_layers(model)
    things = [*layers, *(variable for layer in layers for variable in own_trainable(layer))]
    return {id(thing): (thing, bool(thing.trainable)) for thing in things}


def _with_parts(optimizers: Sequence[Any]) -> list[Any]:
    """What loss-scaling optimizers wrap, and what others are made of."""
    inner = [getattr(one, "inner_optimizer", one) for one in optimizers]
    parts = [part for one in inner for part in getattr(one, "optimizers", None) or ()]
    return [*inner, *parts]


@contextlib.contextmanager
def _attribute(thing: Any, name: str, value: Any) -> Iterator[None]:
    """Within it an attribute has another value. (Not by setattr: Keras would track it.)"""
    attributes = thing.__dict__
    has, before = name in attributes, attributes.get(name)
    attributes[name] = value
    try:
        yield
    finally:
        if has:
            attributes[name] = before
        else:
            del attributes[name]


def _flags_then(model: Any, written: Collection[Any], optimizers: Sequence[Any]) -> Flags:
    """What was trainable when steps were traced: what they write.

    What they do not write, and no optimizer knows, was frozen. (What an optimizer knows may have
    got no gradient.)
    """
    known = {
        key_of(variable)
        for optimizer in optimizers
        for variable in getattr(optimizer, "_trainable_variables", None) or ()
    }
    flags = dict(_flags_now(model))
    layers = flat_layers(model)
    for layer in layers:
        for variable in own_trainable(layer):
            key = key_of(variable)
            then = key in written or (bool(variable.trainable) and key in known)
            flags[id(variable)] = (variable, then)
    for layer in layers:
        inside = [flags[id(v)][1] for one in flat_layers(layer) for v in own_trainable(one)]
        if inside:
            flags[id(layer)] = (layer, any(inside))
    return flags


@contextlib.contextmanager
def _built_like(model: Any, old: Any) -> Iterator[None]:
    """Within it the model is compiled, or run eagerly, as its training function is."""
    if old is None or not getattr(old, "__module__", "").startswith("keras."):
        yield
        return
    functions = functions_in(old)
    before = model._jit_compile, model.run_eagerly
    model.run_eagerly = not functions
    if functions:
        model._jit_compile = any(getattr(one, "_jit_compile", None) for one in functions)
    try:
        yield
    finally:
        model._jit_compile, model.run_eagerly = before


# --- the data of a trace -------------------------------------------------------------------------

_OF_ITERATOR: Specs = ("iterator",)
_KINDS = (tf.TensorSpec, tf.RaggedTensorSpec, tf.SparseTensorSpec)


def _specs(concrete: Any) -> Specs | None:
    found = tf.nest.flatten(concrete.structured_input_signature)
    if any("Iterator" in type(spec).__name__ for spec in found):
        return _OF_ITERATOR
    return tuple(found) if all(isinstance(spec, _KINDS) for spec in found) else None


def _specs_of(data: Any) -> Specs | None:
    values = tf.nest.flatten(data)
    try:
        found = tuple(tf.type_spec_from_value(value) for value in values if value is not None)
    except TypeError:
        return None
    return found if all(isinstance(spec, _KINDS) for spec in found) else None
