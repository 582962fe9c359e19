"""Describe a run: loss, precision, strategy, optimizer, versions.

In:  a compiled model, and its optimizer.
Out: a ``RunContext``.
Does not know about single variables.
"""

from __future__ import annotations

import importlib.metadata
import numbers
import platform
from collections.abc import Mapping
from typing import Any

from tb_gradients.frames import RunContext
from tb_gradients.judging.learning import LOSS_WEIGHT, SMOOTHING, SUMMED
from tb_gradients.judging.learning_rates import CHANGED
from tb_gradients.training.model.frozen import frozen_facts
from tb_gradients.training.model.layers import function_name
from tb_gradients.training.model.model_ends import ends_of
from tb_gradients.training.optimizers import replicas
from tb_gradients.training.optimizers.settings import changed_settings, optimizer_facts


def run_context(model: Any, optimizer: Any, facts: Mapping[str, Any]) -> RunContext:
    context: dict[str, Any] = {**optimizer_facts(optimizer), "versions": _versions()}
    if isinstance(model, (list, tuple)):
        model = model[0] if len(model) == 1 else None
    if model is not None:
        context["loss"] = _loss_text(getattr(model, "loss", None))
        context["precision"] = str(getattr(getattr(model, "dtype_policy", None), "name", ""))
        context["jit_compile"] = getattr(model, "jit_compile", False) is True
        context["steps_per_execution"] = int(getattr(model, "steps_per_execution", 1) or 1)
        context["facts"] = {
            **ends_of(model),
            **_loss_facts(model),
            **frozen_facts(model),
        }
    changed = changed_settings(getattr(optimizer, "inner_optimizer", optimizer))
    context["facts"] = {**context.get("facts", {}), CHANGED: ",".join(changed)}
    strategy = replicas.strategy_of(optimizer)
    name = type(strategy).__name__
    context["strategy"] = "" if name.startswith("_Default") else name
    context["replicas"] = int(strategy.num_replicas_in_sync)
    context["facts"].update(facts.get("facts", {}))
    context.update({name: value for name, value in facts.items() if name != "facts"})
    return RunContext(**context)


def _loss_facts(model: Any) -> dict[str, str]:
    """What the loss of a model with one output is multiplied by, and whether it is a sum."""
    facts = {}
    weights = getattr(getattr(model, "_compile_loss", None), "_user_loss_weights", None)
    if isinstance(weights, Mapping):
        weights = list(weights.values())
    if isinstance(weights, (list, tuple)):
        weights = weights[0] if len(weights) == 1 else None
    if isinstance(weights, numbers.Real) and weights != 1:
        facts[LOSS_WEIGHT] = f"{float(weights):.9g}"
    loss = _only(getattr(model, "loss", None))
    if getattr(loss, "reduction", None) == "sum":
        facts[SUMMED] = "True"
    smoothing = getattr(loss, "_fn_kwargs", None) or getattr(loss, "fn_kwargs", None) or {}
    share = smoothing.get("label_smoothing", getattr(loss, "label_smoothing", 0))
    if isinstance(share, numbers.Real) and share:
        facts[SMOOTHING] = f"{float(share):.9g}"
    return facts


def _only(loss: Any) -> Any:
    """The loss of the only output, given by itself or in a list or dictionary."""
    parts = list(loss.values()) if isinstance(loss, Mapping) else loss
    return parts[0] if isinstance(parts, (list, tuple)) and len(parts) == 1 else loss


def _loss_text(loss: Any) -> str:
    loss = _only(loss)
    if loss is None:
        return ""
    if isinstance(loss, (list, tuple)):
        return ", ".join(_loss_text(item) for item in loss)
    if isinstance(loss, Mapping):
        return ", ".join(f"{name}: {_loss_text(item)}" for name, item in loss.items())
    if isinstance(loss, str):
        return loss
    if hasattr(loss, "get_config"):
        settings = getattr(loss, "_fn_kwargs", None) or getattr(loss, "fn_kwargs", None) or {}
        from_logits = settings.get("from_logits")
        name = type(loss).__name__
        return name if from_logits is None else f"{name}(from_logits={from_logits})"
    return function_name(loss)


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in ("tensorflow", "tensorflow-cpu", "keras", "numpy", "tb-gradients"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
