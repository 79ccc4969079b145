"""Export as the compile's export stage does it, and ONNX Runtime at another length and batch than the example's."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from transformers import PreTrainedModel

from benchmarks.architectures.cases import BATCH, Case, Inputs, example, padded
from benchmarks.architectures.compare import TOLERANCE, Check, Outputs, compare, run
from edgeattn.convert import convert
from edgeattn.export.onnx import PREFERRED_OPSET, export, save
from edgeattn.export.rewrite import rewrite
from edgeattn.models.positions import token_limit

MOVED = 1e-6  # relative: some times the rounding of float32
_TEXT = ("input_ids", "attention_mask", "bbox", "token_type_ids", "mm_token_type_ids")
_DECODER = ("decoder_input_ids", "decoder_attention_mask")


def check_export(model: PreTrainedModel) -> Check:
    """The converted model's graph, held against the model at a longer text of one sample and a shorter one of three.

    model: with eager attention; it is converted with an empty plan here.
    """
    first = _case(model, 2, 1.0)
    if any(x.shape[0] != 2 for x in first.inputs.values()):
        return Check("n/a", detail="its images are one list of patches, which no batch is an axis of")
    converted = convert(copy.deepcopy(model), (), first.inputs)
    dims = _dims(first.inputs)
    least = 400 if "input_values" in first.inputs else 1  # what the convolutions of speech models need
    graph, _ = export(
        converted, first.inputs, dims, opset=PREFERRED_OPSET, limits={"sequence": (least, token_limit(model))}
    )
    rewrite(graph)
    with tempfile.TemporaryDirectory() as folder:
        save(graph, Path(folder) / "model.onnx")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(Path(folder) / "model.onnx", options, providers=["CPUExecutionProvider"])
    moving = any("sequence" in axes.values() for axes in dims.values())
    worst, note = 0.0, ""
    for batch, factor in ((1, 1.5), (BATCH, 0.7)):
        case = _case(model, batch, factor if moving else 1.0)
        expected = run(model, case.inputs)
        found = _run(session, case.inputs, expected)
        check = compare(found, {name: expected[name] for name in found}, case.attended)
        if check.result == "wrong" and case.other is not None:
            check = compare(found, {name: expected[name] for name in found}, case.attended, run(model, case.other))
        if check.result == "wrong" and compare(run(model, case.inputs, seed=1), expected, []).result == "wrong":
            return Check("n/a", detail="the model's outputs are random")
        if check.result == "wrong" and (check.error or 0.0) <= 2 * _own_spread(model, case, expected):
            note = f"; one differs by {check.error:.1g}, as does the model with weights moved by {MOVED:.0e}"
            continue
        if check.result != "equal":
            return Check(check.result, check.error, f"batch {batch}, {_lengths(case.inputs)}: {check.detail}")
        worst = max(worst, check.error or 0.0)
    assert worst <= TOLERANCE
    return Check("equal", worst, ("at other lengths and batches" if moving else "at other batches") + note)


def _own_spread(model: PreTrainedModel, case: Case, expected: Outputs) -> float:
    """How far the model's own outputs move, at most, when its weights move by rounding errors.

    A choice of the k highest scores (experts, proposals) falls otherwise where two are within a rounding.
    """
    spread = 0.0
    for seed in range(8):
        moved, generator = copy.deepcopy(model), torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in moved.parameters():
                if parameter.is_floating_point():
                    parameter.mul_(1 + MOVED * torch.randn(parameter.shape, generator=generator))
        spread = max(spread, compare(run(moved, case.inputs), expected, case.attended).error or 0.0)
    return spread


def _case(model: PreTrainedModel, batch: int, factor: float) -> Case:
    """A padded batch, or an unpadded one where the model takes no mask; lengths are multiplied by `factor`."""
    inputs = example(model, batch, factor)
    case = padded(model, inputs, left=False)
    return Case(inputs) if case is None else case


def _dims(inputs: Inputs) -> dict[str, dict[int, str]]:
    dims: dict[str, dict[int, str]] = {}
    for name, value in inputs.items():
        dims[name] = {0: "batch"}
        if name in _TEXT or (name == "input_values" and value.ndim == 2 and "attention_mask" in inputs):
            dims[name][1] = "sequence"
        elif name in _DECODER:
            dims[name][1] = "decoder_sequence"
    return dims


def _lengths(inputs: Inputs) -> str:
    return ", ".join(f"{name} {list(x.shape)}" for name, x in inputs.items() if name in ("input_ids", "input_values"))


def _run(session: Any, inputs: Inputs, expected: Outputs) -> Outputs:
    """The session's outputs by the names that the model's have; those of caches and maps are left out."""
    taken = {value.name for value in session.get_inputs()}
    names = [value.name for value in session.get_outputs()]
    values = session.run(None, {name: x.numpy() for name, x in inputs.items() if name in taken})
    found = {name: torch.from_numpy(value) for name, value in zip(names, values, strict=True)}
    known = {name: value for name, value in found.items() if name in expected}
    if not known:
        raise ValueError(f"no output of the graph is called as one of the model: {', '.join(names)[:200]}")
    return known
