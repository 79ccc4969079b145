"""The graphs of one token in a bundle for text generation: exported, quantized, and checked against whole texts.

They do not go through the candidate search of the build: both are in one method and for ONNX Runtime.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeattn.errors import EdgeattnError, ModelError, ToolError, VerificationError
from edgeattn.interface import BATCH, Carried, Interface, TensorSpec
from edgeattn.manifest import DECODE_GRAPHS, SIDES, DecodeGraph, Side
from edgeattn.stages.closeness import checked
from edgeattn.stages.target import methods_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from edgeattn.stage import Job

LOG = logging.getLogger("edgeattn")
_FASTER = "int8-dynamic"  # a token reads all weights once: with a quarter of the bytes it took a third of the time
_CHECKED = 2  # golden samples that are read token by token


def export_decode_graphs(
    models: Mapping[Side, PreTrainedModel], out: Path, *, opset: int, longest: int | None
) -> dict[str, Any]:
    """Writes the graph of one token of each model: {carried: {side: [...]}}, or {left_out: why there is none}.

    models: that `convert` has seen. longest: the most tokens that they take.
    """
    from edgeattn.export.decode import export_decode
    from edgeattn.export.onnx import save
    from edgeattn.export.rewrite import rewrite

    carried: dict[str, Any] = {}
    for side, model in models.items():
        try:
            graph, tensors = export_decode(model, opset=opset, longest=longest)
        except (ModelError, ToolError) as error:
            return _left_out(f"{side}: {error.where}: {error.fact}" if error.where else f"{side}: {error.fact}")
        rewrite(graph)
        save(graph, out / DECODE_GRAPHS[side])
        carried[side] = [each.model_dump(mode="json") for each in tensors]
    return {"carried": carried}


def quantize_decode_graphs(job: Job, interface: Interface, golden: Mapping[str, Any]) -> dict[str, Any]:
    """Writes the graphs of one token: {graphs: {side: ...}}, or {left_out: why}; empty where none were exported.

    They are in _FASTER, where the recipe and the device have that and it is accurate, or else in fp32. In fp32 they
    have to be accurate in any case: less precision would hide that a layer forgets.
    """
    exported = job.facts("export").get("decode", {})
    if "carried" not in exported:
        return dict(exported)
    few = {name: array[:_CHECKED] for name, array in golden.items()}
    try:
        graphs = _in_method("fp32", job, interface, few)
    except EdgeattnError as error:
        _clear(job)
        return _left_out(error.fact)
    if _FASTER in methods_of(job.recipe, job.device):
        try:
            graphs = _in_method(_FASTER, job, interface, few)
        except EdgeattnError as error:
            LOG.warning("the graphs for decoding stay in fp32: %s", error.fact)
            graphs = _in_method("fp32", job, interface, few)
    return {"graphs": graphs}


def _in_method(name: str, job: Job, interface: Interface, golden: Mapping[str, Any]) -> dict[Side, str]:
    """Writes both graphs in a method, and checks them. Raises ToolError, or VerificationError for one that is wrong."""
    from edgeattn.quantize import METHODS

    method, graphs = METHODS[name], {}
    _clear(job)
    for side in SIDES:
        graph = job.out / DECODE_GRAPHS[side]
        method.quantize(
            job.path("export") / graph.name, graph, cpu=job.device.cpu, calibration=(), options=method.Options()
        )
        carried = carried_of(job.facts("export")["decode"]["carried"][side])
        made = decode_graph(interface, side, name, carried, method.least_cosine)
        try:
            cosine = checked(graph, interface, golden, side, made.least_cosine, made)
        except VerificationError as error:
            raise VerificationError(f"{side} {name}, read token by token: {error.fact}") from error
        graphs[side] = made.model_copy(update={"cosine": cosine}).model_dump_json()
    return graphs


def _clear(job: Job) -> None:
    for side in SIDES:
        for file in job.out.glob(f"{DECODE_GRAPHS[side]}*"):
            file.unlink()


def _left_out(why: str) -> dict[str, Any]:
    LOG.warning("no graphs for decoding: %s", why)
    return {"left_out": why}


def decode_graph(
    interface: Interface, side: Side, method: str, carried: tuple[Carried, ...], least_cosine: float
) -> DecodeGraph:
    """How the manifest describes a graph of one token. interface: of the graphs of whole texts."""
    axis = interface.length_axis
    return DecodeGraph(
        graph=DECODE_GRAPHS[side],
        method=method,
        inputs=tuple(TensorSpec(name=name, dtype="int64", dims=(BATCH, 1)) for name in ("input_ids", "position_ids")),
        outputs=tuple(
            spec.model_copy(update={"dims": tuple(1 if dim == axis else dim for dim in spec.dims)})
            for spec in interface.outputs
        ),
        carried=carried,
        least_cosine=least_cosine,
    )


def carried_of(document: list[dict[str, Any]]) -> tuple[Carried, ...]:
    """The carried tensors of the stage's facts."""
    return tuple(Carried.model_validate_json(json.dumps(each)) for each in document)
