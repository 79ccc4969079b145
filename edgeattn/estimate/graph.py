"""A graph with the size of each of its tensors, inferred node by node once its inputs have sizes.

ONNX's own inference of a whole graph leaves sizes open that a Reshape or a Slice computes from shapes. Here such small
integer tensors are computed on the way, with ONNX's reference operators.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, TypeProto, helper, numpy_helper
from onnx.external_data_helper import ExternalDataInfo
from onnx.reference import ReferenceEvaluator

from edgeattn.errors import ModelError
from edgeattn.estimate.contrib import SHAPES
from edgeattn.estimate.tensor import Tensor

_SMALL = 1024  # elements of a tensor whose values may decide a shape


@dataclass(frozen=True)
class SizedGraph:
    """nodes: in an order in which they can run. tensors: by name. outputs: names of the graph's outputs."""

    nodes: tuple[NodeProto, ...]
    tensors: Mapping[str, Tensor]
    outputs: frozenset[str]


def read(path: Path) -> onnx.ModelProto:
    """The graph at `path`, with the values of small tensors and without those of weights.

    Its external data is trusted to lie where it should: a bundle is checked when it is opened. Raises ModelError for a
    file that is not an ONNX graph.
    """
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, ValueError) as error:
        raise ModelError(f"not an ONNX graph: {str(error).splitlines()[0]}", where=str(path)) from error
    for weight in model.graph.initializer:
        if weight.data_location == TensorProto.EXTERNAL and math.prod(weight.dims) <= _SMALL:
            # onnx's own reader refuses files with several names, as candidates that share weights have.
            weight.raw_data = _external_data(weight, path.parent)
            weight.data_location = TensorProto.DEFAULT
            del weight.external_data[:]
    return model


def _external_data(weight: TensorProto, folder: Path) -> bytes:
    info = ExternalDataInfo(weight)
    with (folder / info.location).open("rb") as file:
        file.seek(info.offset or 0)
        found: bytes = file.read(info.length or -1)
    return found


def sized(model: onnx.ModelProto, sizes: Mapping[str, int], where: str = "the graph") -> SizedGraph:
    """The graph with its axes at `sizes`, a name of an axis -> its size.

    where: the graph, for errors. Raises ModelError for an axis without a size, and for an operator whose output sizes
    cannot be inferred.
    """
    inference = _Inference(model, sizes, where)
    for node in model.graph.node:
        inference.visit(node)
    outputs = frozenset(output.name for output in model.graph.output)
    return SizedGraph(tuple(model.graph.node), inference.tensors, outputs)


class _Inference:
    def __init__(self, model: onnx.ModelProto, sizes: Mapping[str, int], where: str) -> None:
        self.where = where
        self.opsets = {entry.domain: entry.version for entry in model.opset_import}
        self.imports, self.ir_version = list(model.opset_import), model.ir_version
        self.tensors: dict[str, Tensor] = {}
        self.types: dict[str, TypeProto] = {}
        self.values: dict[str, np.ndarray[Any, Any]] = {}  # of small tensors
        for weight in model.graph.initializer:
            self._add(weight.name, weight.data_type, tuple(weight.dims), constant=True)
            if weight.data_location != TensorProto.EXTERNAL and math.prod(weight.dims) <= _SMALL:
                self.values[weight.name] = numpy_helper.to_array(weight)
        for given in model.graph.input:
            if given.name not in self.tensors:
                kind = given.type.tensor_type
                shape = tuple(self._size(dim, sizes, given.name) for dim in kind.shape.dim)
                self._add(given.name, kind.elem_type, shape, constant=False)

    def visit(self, node: NodeProto) -> None:
        inputs = [name for name in node.input if name]
        constant = all(self.tensors[name].constant for name in inputs if name in self.tensors)
        if node.op_type == "Shape" or (inputs and all(name in self.values for name in inputs)) or not inputs:
            try:
                return self._compute(node, inputs)
            except (NotImplementedError, RuntimeError, TypeError, ValueError, IndexError):
                pass  # the reference does not have every operator: its sizes are inferred as those of others are
        types = self._inferred(node, inputs)
        for name in node.output:
            if name:
                kind = types[name].tensor_type
                shape = tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in kind.shape.dim)
                if not kind.HasField("shape") or None in shape:
                    raise ModelError(
                        f"the sizes of {name!r} follow from data, not from the sizes of the inputs",
                        where=f"{self.where}, {node.op_type} {node.name}",
                        fix="export the model without operators such as NonZero",
                    )
                self._add(name, kind.elem_type, tuple(size or 0 for size in shape), constant=constant)
        return None

    def _compute(self, node: NodeProto, inputs: list[str]) -> None:
        """The values of a small tensor."""
        if node.op_type == "Shape":
            attributes = {each.name: each.i for each in node.attribute}
            shape = self.tensors[inputs[0]].shape
            found = [np.array(shape[attributes.get("start", 0) : attributes.get("end", len(shape))], np.int64)]
        else:
            feeds = {name: self.values[name] for name in inputs}
            given = [helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
                     for name, value in feeds.items()]  # fmt: skip
            wanted = [helper.make_value_info(name, TypeProto()) for name in node.output if name]
            body = helper.make_graph([node], "one", given, wanted)
            single = helper.make_model(body, opset_imports=self.imports, ir_version=self.ir_version)
            found = ReferenceEvaluator(single).run(None, feeds)
        for name, value in zip([name for name in node.output if name], map(np.asarray, found), strict=True):
            self._add(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape, constant=True)
            if value.size <= _SMALL:
                self.values[name] = value

    def _inferred(self, node: NodeProto, inputs: list[str]) -> Mapping[str, TypeProto]:
        where = f"{self.where}, {node.op_type} {node.name}"
        if node.domain in SHAPES:
            rules = SHAPES[node.domain]
            if node.op_type not in rules:
                raise ModelError(f"the estimate does not know {node.domain}::{node.op_type}", where=where)
            made = rules[node.op_type](node, [self.tensors.get(name) for name in node.input])
            kinds = self.types[inputs[0]].tensor_type.elem_type
            return {
                name: helper.make_tensor_type_proto(kinds, shape)
                for name, shape in zip(node.output, made, strict=False)
                if name
            }
        try:
            schema = onnx.defs.get_schema(node.op_type, self.opsets[node.domain], node.domain)
            data = {name: numpy_helper.from_array(self.values[name], name) for name in inputs if name in self.values}
            types = {name: self.types[name] for name in inputs}
            found: dict[str, TypeProto] = onnx.shape_inference.infer_node_outputs(
                schema, node, types, data, opset_imports=self.imports, ir_version=self.ir_version
            )
        except (KeyError, onnx.defs.SchemaError, onnx.shape_inference.InferenceError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ModelError(f"the sizes of its outputs cannot be inferred: {reason}", where=where) from error
        if missing := [name for name in node.output if name and name not in found]:
            raise ModelError(f"the sizes of {missing[0]!r} cannot be inferred", where=where)
        return found

    def _size(self, dim: Any, sizes: Mapping[str, int], tensor: str) -> int:
        if dim.HasField("dim_value"):
            return int(dim.dim_value)
        if dim.dim_param not in sizes:
            raise ModelError(
                f"the axis {dim.dim_param!r} of {tensor!r} has no size",
                where=self.where,
                fix=f"known are {', '.join(sizes)}; give lengths with --lengths",
            )
        return sizes[dim.dim_param]

    def _add(self, name: str, kind: int, shape: tuple[int, ...], *, constant: bool) -> None:
        self.tensors[name] = Tensor(tuple(shape), TensorProto.DataType.Name(kind), constant)
        self.types[name] = helper.make_tensor_type_proto(kind, shape)
