"""What is recorded of one model type: its layers, what was refused, and every check."""

from __future__ import annotations

import copy
import logging
import re
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from benchmarks.architectures.cases import Case, Inputs, cases
from benchmarks.architectures.compare import Check, Outputs, compare, run, tensors
from benchmarks.architectures.exported import check_export
from edgeattn.convert import Choice, Layer, convert, fitting, survey, variants
from edgeattn.convert.swap import Survey
from edgeattn.errors import EdgeattnError, ModelError

Row = dict[str, Any]


class Oracle:
    """The outputs of the model itself on every case, which those of a converted one are held against.

    others: on the same cases with other padding. What differs there is no function of the text.
    """

    def __init__(self, model: PreTrainedModel, given: dict[str, Case]) -> None:
        self.model, self.given = model, given
        self.expected = {name: self._run(case.eager or case.inputs) for name, case in given.items()}
        self.others = {name: self._run(case.other) if case.other else None for name, case in given.items()}

    def _run(self, inputs: Inputs) -> Outputs | Check:
        try:
            found = run(self.model, inputs)
        except Exception as error:  # noqa: BLE001 (the model's own)
            return Check("n/a", detail=f"the model itself refuses it: {first_line(error)}")
        if not any(x.numel() for x in found.values()):
            return Check("n/a", detail="the model has no output of numbers")
        if not all(bool(x.isfinite().any()) for x in found.values() if x.numel()):
            return Check("n/a", detail="the model's own output is not finite")
        return found

    def check(self, name: str, converted: nn.Module) -> Check:
        """A converted model on one case."""
        case, expected, other = self.given[name], self.expected[name], self.others[name]
        if isinstance(expected, Check):
            return expected
        plain = self.expected.get("no mask")
        if name.startswith("packed") and isinstance(plain, dict) and compare(expected, plain, []).result == "equal":
            return Check("n/a", detail="the model itself does not read a mask of four axes")
        found = run(converted, case.inputs)
        check = compare(found, expected, case.attended)
        if check.result == "wrong" and isinstance(other, dict):
            check = compare(found, expected, case.attended, other)
        if check.result != "wrong":
            return check
        # A choice of the k highest scores falls otherwise where two are within a rounding; in float64 it does not.
        exact = self._check_exactly(case, converted)
        return exact if exact.result == "equal" else check

    def _check_exactly(self, case: Case, converted: nn.Module) -> Check:
        own = copy.deepcopy(self.model).double()
        try:
            expected = run(own, _double(case.eager or case.inputs))
            found = run(copy.deepcopy(converted).double(), _double(case.inputs))
            other = run(own, _double(case.other)) if case.other else None
        except Exception as error:  # noqa: BLE001 (some models make float32 tensors of their own)
            return Check("error", detail=first_line(error))
        check = compare(found, expected, case.attended, other)
        return Check(check.result, check.error, "in float64")

    def check_all(self, converted: nn.Module) -> Check:
        """The worst of all cases but packed texts."""
        worst = Check("n/a", detail="nothing to compare")
        for name in self.given:
            check = self.check(name, converted) if not name.startswith("packed") else worst
            if check.result == "wrong":
                return Check("wrong", check.error, f"{name}: {check.detail}")
            if check.result == "equal" and (check.error or 0) >= (worst.error or 0):
                worst = check
        return worst


def examine(model: PreTrainedModel, *, export: bool) -> Row:
    """The record of a model that runs: {layers, left_out, refused, attention, checks}."""
    given = cases(model)
    first = "right padding" if "right padding" in given else "batch"
    inputs = given[first].inputs
    row: Row = {"layers": [], "left_out": [], "refused": None, "checks": {}}
    converted = copy.deepcopy(model)
    try:
        found = survey(converted, inputs)
        convert(converted, (), inputs)
    except Exception as error:  # noqa: BLE001 (whatever it is is the finding)
        row["refused"] = refusal(model, error)
        return row
    layers = found.layers
    row |= {"layers": summary(layers), "left_out": left_out(found)}
    model, row["attention"] = _reference(model, converted, given[first])
    oracle = Oracle(model, given)
    checks = {name: _checked(lambda n=name: oracle.check(n, converted)) for name in given}
    for name, key in (("converted with a bool mask", "bool mask"), ("converted with one sample", "one sample")):
        if key in given:
            example = given[key].inputs
            checks[name] = _checked(lambda x=example: oracle.check_all(convert(copy.deepcopy(model), (), x)))
    if isinstance(oracle.expected[first], dict):
        checks["window as wide as the text"] = _checked(lambda: _wide_window(oracle, layers, first))
        checks["hedgehog"] = _checked(lambda: _hedgehog(model, layers, inputs))
    if export:
        checks["export"] = _checked(lambda: check_export(model))
    row["checks"] = {name: check.document() for name, check in checks.items()}
    return row


def _reference(model: PreTrainedModel, converted: nn.Module, case: Case) -> tuple[PreTrainedModel, str]:
    """The model to compare with, and its attention: eager, or the default where eager misreads a mask of its own.

    Grounding DINO gives BERT a bool mask, which eager attention adds to the scores as 0 and 1, and sdpa reads as one.
    """
    default = copy.deepcopy(model)
    try:
        found, expected = run(converted, case.inputs), run(model, case.inputs)
        if compare(found, expected, case.attended).result == "wrong":
            default.set_attn_implementation("sdpa")
            if compare(found, run(default, case.inputs), case.attended).result == "equal":
                return default, "sdpa"
    except Exception as error:  # noqa: BLE001 (the checks will say it too)
        logging.debug("%s", error)
    return model, "eager"


def _double(inputs: Inputs) -> Inputs:
    return {name: x.double() if x.is_floating_point() else x for name, x in inputs.items()}


def _checked(body: Callable[[], Check]) -> Check:
    try:
        return body()
    except EdgeattnError as error:
        return Check("refused", detail=f"{type(error).__name__}: {error}")
    except Exception as error:  # noqa: BLE001 (whatever it is is the finding)
        return Check("error", detail=f"{type(error).__name__}: {first_line(error)} {_place(error)}")


def _wide_window(oracle: Oracle, layers: tuple[Layer, ...], name: str) -> Check:
    plan = tuple(
        Choice(layer.index, "sliding_window", {"window": 2 * max(layer.length, layer.keys)})
        for layer in layers
        if layer.window is None and "sliding_window" in fitting(layer)
    )
    if not plan:
        return Check("n/a", detail="no layer that can have a window")
    return oracle.check(name, convert(copy.deepcopy(oracle.model), plan, oracle.given[name].inputs))


def _hedgehog(model: PreTrainedModel, layers: tuple[Layer, ...], inputs: Inputs) -> Check:
    chosen = [layer for layer in layers if "hedgehog" in fitting(layer)]
    if not chosen:
        return Check("n/a", detail="no layer that can have hedgehog")
    plan = tuple(Choice(layer.index, "hedgehog", {"feature_dim": 8}) for layer in chosen)
    other = convert(copy.deepcopy(model), plan, inputs)
    loss, grads = _backward(other, inputs, [x for variant in variants(other) for x in variant.parameters()])
    if not bool(loss.isfinite()) or not all(bool(grad.isfinite().all()) for grad in grads):
        return Check("wrong", detail="loss or gradients are not finite")
    if not grads:
        own = copy.deepcopy(model)
        weights = [x for layer in chosen for x in own.get_submodule(layer.name).parameters()]
        if not _backward(own, inputs, weights)[1]:
            return Check("n/a", detail="no gradient reaches the attention of the model itself")
        return Check("wrong", detail="no gradient reaches its weights")
    return Check("equal", detail=f"{len(plan)} layers")


def _backward(model: nn.Module, inputs: Inputs, weights: list[nn.Parameter]) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """(a loss over all outputs, its gradients of those `weights` that it reaches)."""
    torch.manual_seed(0)
    outputs = [x for _, x in tensors("", model(**inputs)) if x.requires_grad and x.numel()]
    loss = torch.stack([x[x.isfinite()].square().mean() for x in outputs]).sum() if outputs else torch.zeros(())
    if outputs:
        loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach(), [weight.grad for weight in weights if weight.grad is not None]


def summary(layers: tuple[Layer, ...]) -> list[Row]:
    """Layers of one kind together, in the order of their first."""
    found = Counter(
        (layer.kind, layer.shape.causal, layer.cross, layer.bias, layer.window is not None) for layer in layers
    )
    keys = ("kind", "causal", "cross", "bias", "window", "count")
    return [dict(zip(keys, (*kind, count), strict=True)) for kind, count in found.items()]


def left_out(found: Survey) -> list[Row]:
    """Attention that ran and cannot be replaced, by class."""
    reasons = {part.kind: part.reason for part in found.left_out}
    count = Counter(part.kind for part in found.left_out)
    return [{"kind": kind, "count": count[kind], "reason": reason} for kind, reason in reasons.items()]


def refusal(model: nn.Module, error: BaseException) -> Row:
    """How a model was refused: whether by a ModelError that names a layer or a class, and what it says."""
    text = str(error)
    classes = {type(module).__name__ for module in model.modules()}
    if text.startswith(f"{type(model).__name__} does not run"):  # that a model does not run is no reason by itself
        classes.discard(type(model).__name__)
    places = {name for name, _ in model.named_modules() if name}
    named = bool(set(re.findall(r"\w[\w.]*\w", text)) & (classes | places))
    return {
        "error": type(error).__name__,
        "clear": isinstance(error, ModelError) and named,
        "reason": text.splitlines()[0] if text else "",
        **({} if isinstance(error, EdgeattnError) else {"place": _place(error)}),
    }


def first_line(error: BaseException) -> str:
    """What an error says, on one line, without the folder that packages are installed in here."""
    said = str(error).replace(f"{Path(torch.__file__).parents[1]}/", "")
    return " ".join(said.split())[:300] or type(error).__name__


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    mine = [frame for frame in frames if "/edgeattn/" in frame.filename]
    frame = (mine or frames)[-1]
    return f"({frame.filename.rpartition('/')[2]}:{frame.lineno})"
