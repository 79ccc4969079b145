"""The graph that is timed: one variant's attention, with or without the projections around it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor, nn
from torch.fx.experimental import _config as symbolic

from edgeattn.attention.lowering import allow
from edgeattn.attention.variant import Variant
from edgeattn.errors import EdgeattnError, ToolError
from edgeattn.export.onnx import PREFERRED_OPSET
from edgeattn.export.rewrite import rewrite
from edgeattn.measure.graphs import HIDDEN, INPUTS, MASK

# Traced with more tokens than any window has, and a number that no block size divides, so that the trace does not fix
# a size that only this length has, such as a single block. Traced tensors take no memory.
_TRACED = 99_991


class Core(nn.Module):
    """q, k, v: [B, N, H D], the layout of projections -> [B, N, H D]; splitting and joining the heads is included.

    This is fair to all forms: a fused operator takes this layout as it is, others transpose.
    """

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.variant = variant

    def forward(self, q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor | None = None) -> Tensor:
        q, k, v = (x.unflatten(-1, (-1, self.variant.shape.head_dim)).transpose(1, 2) for x in (q, k, v))
        mixed: Tensor = self.variant(q, k, v, key_mask)
        return mixed.transpose(1, 2).flatten(2)


def core(
    variant: Variant, *, key_mask: bool, operators: frozenset[str] = frozenset(), length: int | None = None
) -> ir.Model:
    """The graph q, k, v [B, N, H D], key_mask [B, N] bool -> out [B, N, H D], for any batch size and length.

    key_mask: whether the graph has that input. operators: fused operators that it may use.
    length: for a variant that is exported for one length only. Raises ToolError where torch cannot export it.
    """
    n = length or _TRACED
    width = variant.shape.heads * variant.shape.head_dim
    example = [torch.empty(2, n, width) for _ in INPUTS]  # the same tensor three times would become one input
    names = [*INPUTS]
    if key_mask:
        example.append(torch.ones(2, n, dtype=torch.bool))
        names.append(MASK)
    axes = {0: torch.export.Dim("batch"), **({} if length else {1: torch.export.Dim("sequence")})}
    try:
        # As for whole models: tests check the graph at other lengths, the trace does not prove it.
        with allow(operators), symbolic.patch(backed_size_oblivious=True), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.export(
                Core(variant).eval(), tuple(example), dynamic_shapes=[axes] * len(example),
                prefer_deferred_runtime_asserts_over_guards=True,
            )  # fmt: skip
            exported = torch.onnx.export(
                program, dynamo=True, opset_version=PREFERRED_OPSET, verbose=False,
                input_names=names, output_names=["out"],
            )  # fmt: skip
    except EdgeattnError:
        raise
    except (RuntimeError, ValueError, TypeError, torch.onnx.errors.OnnxExporterError) as error:
        at = f" for {length} tokens" if length else ""
        raise ToolError(
            f"{variant.name} could not be exported{at}: {str(error).strip().splitlines()[0]}",
            where="crossover",
            fix="leave it out with --variants",
        ) from error
    assert exported is not None
    rewrite(exported.model)
    for node in exported.model.graph.all_nodes():
        node.metadata_props.clear()  # names functions by their addresses: else each export is another file
    return exported.model


def before_reshapes(value: ir.Value) -> ir.Value:
    """The input of the chain of Reshapes that ends in `value`.

    ONNX Runtime copies the result of a Reshape at the end of a graph, but not inside a model, before a projection.
    """
    while (last := value.producer()) is not None and last.op_type == "Reshape" and last.inputs[0] is not None:
        value = last.inputs[0]
    return value


@contextmanager
def ending_uncopied(model: ir.Model) -> Iterator[None]:
    """Within the block, a core ends before its last Reshapes, mostly at [B, N, H, D]."""
    out = model.graph.outputs[0]
    model.graph.outputs[0] = before_reshapes(out)
    try:
        yield
    finally:
        model.graph.outputs[0] = out


def add_projections(model: ir.Model, width: int) -> None:
    """Puts random query, key, value and output projections [width, width] around a core, in place.

    The graph then takes hidden_states [B, N, width] in place of q, k and v, and is rewritten like a whole model: a
    variant's own map of queries or keys is merged into the projection before it.
    """
    graph, random = model.graph, np.random.default_rng(0)
    out = graph.outputs[0]
    hidden = ir.Input(HIDDEN, shape=out.shape, type=out.type)

    def constant(name: str, *shape: int) -> ir.Value:
        array = random.standard_normal(shape, dtype=np.float32) * np.float32(width**-0.5)
        tensor = ir.tensor(array, name=name)
        value = ir.Value(name=name, shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
        graph.register_initializer(value)
        return value

    def projection(name: str, source: ir.Value) -> list[ir.Node]:
        product = ir.node("MatMul", [source, constant(f"{name}.weight", width, width)], name=f"{name}.product")
        shifted = ir.node("Add", [product.outputs[0], constant(f"{name}.bias", width)], name=f"{name}.sum")
        for value in (product.outputs[0], shifted.outputs[0]):
            value.shape, value.type = out.shape, out.type
        return [product, shifted]

    for value in [value for value in graph.inputs if value.name in INPUTS]:
        nodes = projection(f"projection.{value.name}", hidden)
        for node, index in list(value.uses()):
            # The length comes from the hidden states, as in a whole model: a second reader would block the rewrites.
            node.replace_input_with(index, hidden if node.op_type == "Shape" else nodes[-1].outputs[0])
        graph.inputs.remove(value)
        graph.insert_before(graph[0], nodes)
    graph.inputs.insert(0, hidden)
    nodes = projection("projection.out", out)
    out.name, nodes[-1].outputs[0].name = "mixed", "out"
    graph.extend(nodes)
    graph.outputs[0] = nodes[-1].outputs[0]
    rewrite(model)
