"""Graphs whose layers read quantized values through pairs of QuantizeLinear and DequantizeLinear (QDQ)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes import common

SWITCH = "quantized"


class QdqGraph:
    """A QDQ graph as TensorRT wants it: signed int8, symmetric, and weights in int8.

    Each layer can be put back to float. layers: the names of the nodes that read quantized values.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        """model: with fp32 weights, each followed by a pair of its own; changed in place."""
        self._model = ir.serde.deserialize_model(model)
        # layer -> the inputs that make it read quantized values: (node, index, the value before the pair)
        self._float: dict[str, list[tuple[str, int, ir.Value]]] = {}
        for node in [node for node in self._model.graph if node.op_type == "DequantizeLinear"]:
            quantize = node.inputs[0].producer() if node.inputs[0] is not None else None
            if quantize is None or quantize.inputs[0] is None:
                continue
            value = quantize.inputs[0]
            if value.const_value is None:
                self._make_signed(quantize, node)
            else:
                node.replace_input_with(0, self._in_int8(value, quantize))
            for reader, index in node.outputs[0].uses():
                for layer in _layers(reader):
                    self._float.setdefault(layer, []).append((str(reader.name), index, value))

    @property
    def layers(self) -> list[str]:
        return list(self._float)

    def save_switchable(self, path: Path) -> None:
        """Writes a graph for tests of layers: its input SWITCH, bool [layers], says which of them read quantized
        values. Which do not, compute as before; neither costs the other time."""
        model = self._model.clone()
        graph = model.graph
        nodes, values = {node.name: node for node in graph}, {value.name: value for value in _values(graph)}
        switch = ir.Input(SWITCH, shape=ir.Shape([len(self._float)]), type=ir.TensorType(ir.DataType.BOOL))
        graph.inputs.append(switch)
        for number, (layer, found) in enumerate(self._float.items()):
            index = self._constant(f"{SWITCH}.{number}", np.array(number), graph)
            chosen = ir.node("Gather", [switch, index])
            chosen.outputs[0].name = f"{layer}.chosen"
            graph.insert_before(graph[0], chosen)
            own = {place: values[value.name] for name, place, value in found if name == layer}
            for name, place, value in found:
                if name != layer:  # what only moves values, between the pair and the layer
                    either = ir.node("Where", [chosen.outputs[0], nodes[name].inputs[place], values[value.name]])
                    graph.insert_before(nodes[name], either)
                    nodes[name].replace_input_with(place, either.outputs[0])
            if own:
                _switch(graph, nodes[layer], chosen.outputs[0], own)
        ir.save(model, path, external_data=f"{path.name}.data")

    def save(self, path: Path, left_in_float: Collection[str]) -> None:
        """Writes the graph with some layers in float for good, and its weights to <path>.data."""
        nodes = {node.name: node for node in self._model.graph}
        for name, index, value in self._inputs(left_in_float):
            nodes[name].replace_input_with(index, value)
        common.RemoveUnusedNodesPass()(self._model)
        ir.save(self._model, path, external_data=f"{path.name}.data")

    def _inputs(self, layers: Collection[str]) -> list[tuple[str, int, ir.Value]]:
        return [found for layer in layers for found in self._float[layer]]

    def _in_int8(self, weight: ir.Value, quantize: ir.Node) -> ir.Value:
        assert weight.const_value is not None
        values, scale = weight.const_value.numpy(), _array(quantize.inputs[1])
        shape = [1] * values.ndim
        if scale.ndim:
            shape[quantize.attributes.get_int("axis", 1)] = -1
        rounded = np.clip(np.rint(values / scale.reshape(shape)), -128, 127).astype(np.int8)
        return self._constant(f"{weight.name}.int8", rounded)

    def _make_signed(self, quantize: ir.Node, dequantize: ir.Node) -> None:
        """Values that are never negative have come out as uint8, which TensorRT does not take."""
        zero = quantize.inputs[2]
        if zero is None or zero.dtype != ir.DataType.UINT8:
            return
        scale = self._constant(f"{quantize.name}.scale", _array(quantize.inputs[1]) * np.float32(255 / 127))
        zero = self._constant(f"{quantize.name}.zero", np.zeros_like(scale.const_value.numpy(), np.int8))  # type: ignore[union-attr]
        for node in (quantize, dequantize):
            node.replace_input_with(1, scale)
            node.replace_input_with(2, zero)
        quantize.outputs[0].dtype = ir.DataType.INT8

    def _constant(self, name: str, array: np.ndarray[Any, Any], graph: ir.Graph | None = None) -> ir.Value:
        tensor = ir.tensor(np.asarray(array, order="C"), name=name)  # scalars stay scalars
        value = ir.Value(name=name, shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
        (graph or self._model.graph).register_initializer(value)
        return value


def _switch(graph: ir.Graph, node: ir.Node, chosen: ir.Value, in_float: Mapping[int, ir.Value]) -> None:
    """Puts an If in place of `node`: as it is, or reading these inputs in float."""

    def branch(name: str, inputs: list[ir.Value | None]) -> ir.Graph:
        copy = ir.node(node.op_type, inputs, dict(node.attributes), domain=node.domain)
        copy.outputs[0].name = f"{node.outputs[0].name}.{name}"
        copy.outputs[0].dtype, copy.outputs[0].shape = node.outputs[0].dtype, node.outputs[0].shape
        return ir.Graph([], [copy.outputs[0]], nodes=[copy], name=name)

    inputs = list(node.inputs)
    branches = {
        "then_branch": branch("quantized", inputs),
        "else_branch": branch("float", [in_float.get(place, value) for place, value in enumerate(inputs)]),
    }
    either = ir.node("If", [chosen], {name: ir.AttrGraph(name, body) for name, body in branches.items()})
    out, old = either.outputs[0], node.outputs[0]
    out.dtype, out.shape = old.dtype, old.shape
    graph.insert_before(node, either)
    old.replace_all_uses_with(out, replace_graph_outputs=True)
    out.name, old.name = old.name, f"{old.name}.replaced"
    graph.remove(node, safe=True)


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    yield from graph.inputs
    yield from graph.initializers.values()
    for node in graph:
        yield from node.outputs


def _layers(reader: ir.Node) -> Iterator[str]:
    """The names of the nodes that compute with what `reader` reads: itself, or those behind one that only moves it."""
    if reader.op_type in ("Transpose", "Reshape"):
        for node, _ in reader.outputs[0].uses():
            yield from _layers(node)
    else:
        yield str(reader.name)


def _array(value: ir.Value | None) -> np.ndarray[Any, Any]:
    assert value is not None
    assert value.const_value is not None
    found: np.ndarray[Any, Any] = value.const_value.numpy()
    return found
