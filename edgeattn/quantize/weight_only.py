"""Weights of linear layers in a few bits, by blocks, that ONNX Runtime's MatMulNBits multiplies by as they are.

For decoders on a CPU: a token at a time, its time is that of reading the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from edgeattn.bench.inputs import Arrays
from edgeattn.devices.profile import CpuFacts
from edgeattn.errors import ToolError
from edgeattn.quantize.method import Method
from edgeattn.quantize.weights import linear_layers, weights_of
from edgeattn.validation import Part


class WeightOptions(Part):
    block_size: Literal[16, 32, 64, 128, 256] = Field(
        default=32, description="weights of a column that share a scale; fewer are more precise and larger"
    )
    symmetric: bool = Field(default=False, description="no zero points: smaller, and less precise")
    int8_products: bool = Field(
        default=True, description="quantizes what the weights multiply at run time too, which is faster on most CPUs"
    )


class WeightOnly(Method):
    """A subclass says how many bits."""

    Options: ClassVar[type[Part]] = WeightOptions
    fused = True
    operators = frozenset({"com.microsoft::MatMulNBits"})
    bits: ClassVar[int]

    @classmethod
    def quantize(
        cls, graph: Path, out: Path, *, cpu: CpuFacts | None, calibration: Sequence[Arrays], options: Part
    ) -> dict[str, Any]:
        import onnx
        from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer

        assert isinstance(options, WeightOptions)
        model = onnx.load(graph)
        _gemm_as_matmul(model)
        layers = linear_layers(model)
        if not layers:
            raise ToolError("no linear layer to quantize", where=graph.name, fix="use methods: [fp32]")
        config = DefaultWeightOnlyQuantConfig(
            bits=cls.bits, block_size=options.block_size, is_symmetric=options.symmetric,
            accuracy_level=4 if options.int8_products else None, op_types_to_quantize=("MatMul",),
        )  # fmt: skip
        others = [node.name for node in model.graph.node if node.op_type == "MatMul" and node.name not in layers]
        quantizer = MatMulNBitsQuantizer(model, algo_config=config, nodes_to_exclude=others)
        quantizer.process()
        onnx.save(
            quantizer.model.model, out, save_as_external_data=True, location=weights_of(out).name, size_threshold=256
        )
        return {"quantized": len(layers), "bits": cls.bits}


def _gemm_as_matmul(model: Any) -> None:
    """Writes each Gemm with constant weights as MatMul and Add, in place: MatMulNBits replaces MatMul only."""
    from onnx import helper, numpy_helper

    weights = {weight.name: weight for weight in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        given = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        plain = given.get("alpha", 1.0) == given.get("beta", 1.0) == 1.0 and not given.get("transA", 0)
        if node.op_type != "Gemm" or node.input[1] not in weights or not plain:
            nodes.append(node)
            continue
        matrix = node.input[1]
        if given.get("transB", 0):
            matrix = f"{matrix}.transposed"
            if matrix not in weights:
                array = np.ascontiguousarray(numpy_helper.to_array(weights[node.input[1]]).T)
                weights[matrix] = numpy_helper.from_array(array, matrix)
                model.graph.initializer.append(weights[matrix])
        biased = len(node.input) > 2
        product = f"{node.output[0]}.product" if biased else node.output[0]
        nodes.append(helper.make_node("MatMul", [node.input[0], matrix], [product], name=node.name))
        if biased:
            nodes.append(helper.make_node("Add", [product, node.input[2]], [node.output[0]], name=f"{node.name}.bias"))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [weight for weight in model.graph.initializer if weight.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
