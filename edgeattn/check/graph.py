"""A graph as rules see it: nodes with those of subgraphs, element types, shapes and constants."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgeattn.check.sound import external_bytes, nodes_of, opset_of

Array = np.ndarray[Any, Any]
Shape = tuple[int | None, ...]  # None: a size that is not fixed

# TensorProto.DataType, by the names that devices/operators has for them.
_TYPES = {
    1: "FP32", 2: "UINT8", 3: "INT8", 4: "UINT16", 5: "INT16", 6: "INT32", 7: "INT64", 8: "STRING", 9: "BOOL",
    10: "FP16", 11: "FP64", 12: "UINT32", 13: "UINT64", 14: "COMPLEX64", 15: "COMPLEX128", 16: "BF16", 17: "FP8",
    18: "FP8E4M3FNUZ", 19: "FP8E5M2", 20: "FP8E5M2FNUZ", 21: "UINT4", 22: "INT4", 23: "FP4", 24: "FP8E8M0",
    25: "UINT2", 26: "INT2",
}  # fmt: skip
_MADE_OF_NOTHING = ("RandomNormal", "RandomUniform", "Constant")


def type_name(element: int) -> str:
    """The name of an element type of TensorProto."""
    return _TYPES.get(element, f"type {element}")


@dataclass(frozen=True, eq=False)
class Node:
    """A node. name: for messages. operator: "domain::Name" outside of ONNX's own."""

    name: str
    operator: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]  # name -> AttributeProto

    def value(self, name: str, default: Any = None) -> Any:
        """The value of an attribute, text as str."""
        from onnx import helper

        if name not in self.attributes:
            return default
        found = helper.get_attribute_value(self.attributes[name])
        return found.decode(errors="replace") if isinstance(found, bytes) else found

    def input(self, place: int) -> str:
        """The name of an input; empty where it is not given."""
        return self.inputs[place] if place < len(self.inputs) else ""


@dataclass
class Graph:
    """nodes: with those of subgraphs and local functions. inputs, outputs: name -> element type, of the whole graph.

    types: value -> element type, where it is known. shapes: value -> its size along each axis, where they are known.
    producers, consumers: value -> the nodes that make and read it.
    """

    opset: int
    nodes: Sequence[Node]
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    types: Mapping[str, str]
    shapes: Mapping[str, Shape]
    functions: Sequence[str]
    sparse: Sequence[str]
    _tensors: Mapping[str, Any]
    _weights: frozenset[str]
    _folder: Path
    producers: dict[str, Node] = field(default_factory=dict)
    consumers: dict[str, list[Node]] = field(default_factory=dict)
    _folded: dict[str, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for node in self.nodes:
            for name in node.outputs:
                self.producers[name] = node
            for name in node.inputs:
                self.consumers.setdefault(name, []).append(node)

    def constant(self, name: str) -> Array | None:
        """The values of an initializer or Constant; None for others, and for external weights of more than 64 KiB."""
        from onnx import numpy_helper

        tensor = self._tensors.get(name)
        if tensor is None:
            node = self.producers.get(name)
            if node is not None and node.operator == "Identity":
                return self.constant(node.input(0))
            return _of_constant(node) if node is not None and node.operator == "Constant" else None
        if tensor.data_location:
            return None
        array: Array = numpy_helper.to_array(tensor)
        return array

    def small_weights(self) -> Iterator[tuple[str, Array]]:
        """Constants by name, without external weights of more than 64 KiB."""
        for name in (
            *self._tensors,
            *(name for node in self.nodes if node.operator == "Constant" for name in node.outputs),
        ):
            if (array := self.constant(name)) is not None:
                yield name, array

    def initializers(self) -> list[str]:
        """The names of all initializers."""
        return list(self._tensors)

    def read(self, name: str) -> Array:
        """The values of an initializer, whatever its size."""
        from onnx import numpy_helper

        tensor = self._tensors[name]
        if tensor.data_location:
            whole = type(tensor)()
            whole.CopyFrom(tensor)
            whole.raw_data = external_bytes(tensor, self._folder) or b""
            del whole.external_data[:]
            whole.data_location = 0
            tensor = whole
        array: Array = numpy_helper.to_array(tensor)
        return array

    def is_constant(self, name: str, *, folds: bool = False) -> bool:
        """Whether the value is known when the graph is parsed. folds: computes what depends on constants only."""
        if name in self._weights:
            return True
        node = self.producers.get(name)
        if node is None:
            return False
        if node.operator == "Constant":
            return True
        if node.operator == "Identity" or (folds and node.operator not in _MADE_OF_NOTHING):
            if name not in self._folded:
                self._folded[name] = False  # of a loop
                self._folded[name] = all(self.is_constant(each, folds=folds) for each in node.inputs if each)
            return self._folded[name]
        return False


def _of_constant(node: Node) -> Array | None:
    from onnx import numpy_helper

    for name in ("value", "value_float", "value_int", "value_floats", "value_ints"):
        if name in node.attributes:
            found = node.value(name)
            array: Array = numpy_helper.to_array(found) if name == "value" else np.asarray(found)
            return array
    return None


def view(model: Any, path: Path) -> Graph:
    """The view of a ModelProto that `edgeattn.check.sound.load` read from `path`."""
    import onnx

    original = onnx.load(path, load_external_data=False).graph
    weights = {tensor.name: tensor for tensor in original.initializer}
    weights |= {tensor.name: tensor for tensor in model.graph.initializer}  # small ones, with their data
    names = {*weights, *(tensor.values.name for tensor in original.sparse_initializer)}
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        inferred = model.graph  # types that are not known are not checked
    types: dict[str, str] = {}
    shapes: dict[str, Shape] = {}
    graphs = [inferred]
    for node in nodes_of(inferred):
        graphs += [inner for attribute in node.attribute for inner in (attribute.g, *attribute.graphs)]
    for graph in graphs:
        for tensor in graph.initializer:
            weights.setdefault(tensor.name, tensor)
            types[tensor.name], shapes[tensor.name] = type_name(tensor.data_type), tuple(tensor.dims)
        for value in (*graph.input, *graph.output, *graph.value_info):
            types[value.name] = _type_of(value.type)
            if (shape := shape_of(value.type)) is not None:
                shapes[value.name] = shape
    functions = [each for function in model.functions for each in function.node]
    return Graph(
        opset=opset_of(model),
        nodes=[_node(node) for node in (*nodes_of(inferred), *functions)],
        inputs={value.name: _type_of(value.type) for value in original.input if value.name not in names},
        outputs={value.name: _type_of(value.type) for value in original.output},
        types={name: kind for name, kind in types.items() if kind},
        shapes=shapes,
        functions=[f"{function.domain}::{function.name}" for function in model.functions],
        sparse=[tensor.values.name for tensor in original.sparse_initializer],
        _tensors=weights,
        _weights=frozenset({*weights, *names}),
        _folder=path.parent,
    )


def _node(node: Any) -> Node:
    own = node.domain in ("", "ai.onnx")
    return Node(
        name=node.name or f"(makes {next(iter(node.output), 'nothing')})",
        operator=node.op_type if own else f"{node.domain}::{node.op_type}",
        domain="" if own else node.domain,
        inputs=tuple(node.input),
        outputs=tuple(node.output),
        attributes={attribute.name: attribute for attribute in node.attribute},
    )


def _type_of(kind: Any) -> str:
    """The element type of a TypeProto; the kind of one that is no tensor; empty where it is not known."""
    which = kind.WhichOneof("value")
    if which is None:
        return ""
    if which == "tensor_type":
        return type_name(kind.tensor_type.elem_type) if kind.tensor_type.elem_type else ""
    return str(which).removesuffix("_type").upper()


def shape_of(kind: Any) -> Shape | None:
    """The sizes of a TypeProto; None where they are not stated."""
    if kind.WhichOneof("value") != "tensor_type" or not kind.tensor_type.HasField("shape"):
        return None
    dims = kind.tensor_type.shape.dim
    return tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in dims)
