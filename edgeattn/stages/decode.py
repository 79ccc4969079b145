"""The graphs of one token in a bundle for text generation: exported, quantized, and checked against whole texts.

They do not go through the candidate search of the build: both are in one method and for ONNX Runtime.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeattn.errors import EdgeattnError, ModelError, ToolError
from edgeattn.interface import BATCH, Carried, Interface, TensorSpec
from edgeattn.manifest import DECODE_GRAPHS, SIDES, DecodeGraph, Side
from edgeattn.stages.closeness import checked
from edgeattn.stages.target import methods_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from edgeattn.stage import Job

LOG = logging.getLogger("edgeattn")
_METHODS = ("int8-dynamic", "fp32")  # the first that the recipe and the device have, and that is accurate
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
    """Writes the graphs of one token in the first method that is accurate: {graphs: {side: ...}}, or {left_out: why}.

    Empty for a task that generates nothing.
    """
    from edgeattn.quantize import METHODS

    exported = job.facts("export").get("decode", {})
    if "carried" not in exported:
        return dict(exported)
    supported = methods_of(job.recipe, job.device)
    why, few = "", {name: array[:_CHECKED] for name, array in golden.items()}
    for name in (name for name in _METHODS if name in supported or name == "fp32"):
        method, graphs = METHODS[name], {}
        try:
            for side in SIDES:
                graph = job.out / DECODE_GRAPHS[side]
                method.quantize(
                    job.path("export") / graph.name, graph,
                    cpu=job.device.cpu, calibration=(), options=method.Options(),
                )  # fmt: skip
                carried = carried_of(exported["carried"][side])
                made = decode_graph(interface, side, name, carried, method.least_cosine)
                cosine = checked(graph, interface, few, side, made.least_cosine, made)
                graphs[side] = made.model_copy(update={"cosine": cosine}).model_dump_json()
        except EdgeattnError as error:
            why = f"{side} {name}: {error.fact}"
            continue
        return {"graphs": graphs}
    for side in SIDES:
        for file in job.out.glob(f"{DECODE_GRAPHS[side]}*"):
            file.unlink()
    return _left_out(why)


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
