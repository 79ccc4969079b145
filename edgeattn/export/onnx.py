"""From a torch model to an ONNX graph, through `transformers.exporters.OnnxExporter`.

The exporter is young and patches much of torch while it runs, so it is called only here. Tested with
transformers 5.23, torch 2.13, onnx 1.23, onnxscript 0.7.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import onnx_ir as ir
import torch
from onnxscript.rewriter import _matcher
from torch import Tensor
from torch.fx.experimental import _config as symbolic
from torch.nn import functional
from transformers import PreTrainedModel

from edgeattn.attention.lowering import allow
from edgeattn.errors import ToolError
from edgeattn.export import MODULES
from edgeattn.export.opset import EXPORTED, lower_to_17

# The lowest opset with Gelu as one operator: written with Erf it costs ONNX Runtime 10 % of MiniLM at N = 512.
PREFERRED_OPSET = 20
# onnxscript drops "+ 0" where a constant is within 1e-8 of 0, and with it the epsilons of norms. Here 0 is 0 alone.
_EXACT_ZEROS = SimpleNamespace(isclose=lambda a, b, *, rel_tol, abs_tol: math.isclose(a, b, rel_tol=rel_tol))
MAX_BATCH = 1024


def export(
    model: PreTrainedModel,
    example: Mapping[str, Tensor],
    dims: Mapping[str, Mapping[int, str]],
    *,
    opset: int,
    limits: Mapping[str, tuple[int, int | None]] | None = None,
    operators: frozenset[str] = frozenset(),
) -> tuple[ir.Model, dict[str, object]]:
    """The ONNX graph of `model` and the manifest that `ExportedModel.from_pretrained` reads beside it.

    example: model inputs, a batch of two; dims: input -> {axis: name} of the axes whose size may change.
    limits: name of an axis -> the least and the most that the model takes along it; None: no limit.
    operators: fused operators of the target's runtime that the graph may hold.
    Raises ToolError where the exporter fails.
    """
    from transformers.exporters import OnnxConfig, OnnxExporter

    named: dict[str, torch.export.Dim] = {}
    limits = {"batch": (1, MAX_BATCH), **(limits or {})}
    for axes in dims.values():
        for name in axes.values():
            least, most = limits.get(name, (1, None))
            named.setdefault(name, torch.export.Dim(name, min=least, max=most))
    config = OnnxConfig(
        dynamic=True,
        dynamic_shapes={key: {axis: named[name] for axis, name in axes.items()} for key, axes in dims.items()},
        opset_version=max(opset, EXPORTED),
        # Sizes that a variant computes, such as a window's number of blocks, cannot be proved to fit their ranges while
        # tracing, and the example's sizes must not be built in. Tests check the graph at other lengths.
        prefer_deferred_runtime_asserts_over_guards=True,
    )
    try:
        # The exporter prints and warns much that a user cannot act on.
        with (
            allow(operators),
            _pooling_of_any_length(),
            mock.patch.object(_matcher, "math", _EXACT_ZEROS),
            torch.no_grad(),  # a graph that records gradients of a learned bias cannot be decomposed
            symbolic.patch(backed_size_oblivious=True),
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            exported = OnnxExporter().export(model.eval(), dict(example), config)
    except (RuntimeError, ValueError, TypeError, torch.onnx.errors.OnnxExporterError) as error:
        raise ToolError(
            f"{type(model).__name__} could not be exported at opset {opset}: {_first_line(error)}",
            where="export",
            fix="run again with -v for the exporter's own report",
        ) from error
    graph = exported.program
    if opset < EXPORTED:
        lower_to_17(graph)
    for value in graph.graph.inputs:  # the exporter's prefix where an output has the name too (Qwen2-Audio)
        value.name = (value.name or "").removeprefix("input.")
    _name_dims(graph, dims)
    component = exported.components["model"]
    manifest = {
        "schema_version": 1,
        "export_format": "onnx",
        "components": {"model": {"file": "model.onnx", "metadata": vars(component.metadata)}},
    }
    return graph, json.loads(json.dumps(manifest))


@contextlib.contextmanager
def _pooling_of_any_length() -> Iterator[None]:
    """Within the block, `max_pool1d` computes indices too: its fast path builds the example's length in (SEW)."""
    own: Any = functional.max_pool1d

    def pool(*args: Any, return_indices: bool = False, **options: Any) -> Any:
        found = functional.max_pool1d_with_indices(*args, **options)
        return found if return_indices else found[0]

    functional.max_pool1d = pool
    try:
        yield
    finally:
        functional.max_pool1d = own


def _name_dims(model: ir.Model, dims: Mapping[str, Mapping[int, str]]) -> None:
    """Renames the axes that may change from the trace's s43 or so to the names in `dims`."""
    names: dict[str | None, str] = {}
    for value in model.graph.inputs:
        for axis, name in dims.get(value.name or "", {}).items():
            if value.shape is not None and isinstance(dim := value.shape[axis], ir.SymbolicDim):
                names[dim.value] = name
    values = [*model.graph.inputs, *(output for node in model.graph.all_nodes() for output in node.outputs)]
    for value in values:
        if value.shape is not None:
            value.shape = ir.Shape([names.get(d.value, d) if isinstance(d, ir.SymbolicDim) else d for d in value.shape])


def save(graph: ir.Model, path: Path) -> None:
    """Writes the graph to `path` and its weights to `<path>.data` beside it."""
    _forget_this_machine(graph)
    ir.save(graph, path, external_data=f"{path.name}.data")


def _forget_this_machine(model: ir.Model) -> None:
    """Removes torch's notes of where in its files each node comes from; the modules' names stay, for reports."""
    for each in (model, model.graph, *model.graph.inputs, *model.graph.initializers.values()):
        each.metadata_props.clear()
    for node in model.graph.all_nodes():
        node.doc_string = None
        for key in set(node.metadata_props) - {MODULES}:
            del node.metadata_props[key]
        for value in node.outputs:
            value.metadata_props.clear()


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
