"""int8-dynamic: int8 weights, and inputs that are quantized at run time, by ONNX Runtime's own tools."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeattn.bench.inputs import Arrays
from edgeattn.devices.profile import CpuFacts
from edgeattn.errors import ToolError
from edgeattn.quantize.arithmetic import Arithmetic
from edgeattn.quantize.method import Method
from edgeattn.quantize.weights import linear_layers, weights_of
from edgeattn.validation import Part

# On x86 without one of these, the sum of two products of unsigned and signed bytes saturates at 16 bits.
_EXACT_INT8 = {"avx512_vnni", "avx_vnni", "amx_int8"}


class Int8Dynamic(Method):
    """Weights of linear layers in int8 per channel; their inputs are quantized at run time."""

    name = "int8-dynamic"
    fused = True
    arithmetic = Arithmetic(linear="uint8", weight_bits=8)
    least_cosine = 0.9  # measured at 0.98 to 0.99

    @classmethod
    def quantize(
        cls, graph: Path, out: Path, *, cpu: CpuFacts | None, calibration: Sequence[Arrays], options: Part
    ) -> dict[str, Any]:
        import onnx
        from onnxruntime.quantization import QuantType, quantize_dynamic

        model = onnx.load(graph, load_external_data=False)
        # Only linear layers: products of two activations lose more accuracy than they gain speed, and ONNX Runtime's
        # kernel does not run per-head weights [H, D, F].
        linear = linear_layers(model)
        if not linear:
            raise ToolError("no linear layer to quantize", where=graph.name, fix="use methods: [fp32]")
        # quantize_dynamic infers shapes itself and fails on shapes that are there already.
        del model.graph.value_info[:]
        with tempfile.TemporaryDirectory(dir=out.parent) as folder:
            bare = Path(folder) / graph.name
            onnx.save(model, bare)
            shutil.copyfile(weights_of(graph), weights_of(bare))
            quantize_dynamic(
                bare,
                out,
                nodes_to_quantize=linear,
                per_channel=True,
                reduce_range=saturates(cpu),
                weight_type=QuantType.QInt8,
                use_external_data_format=True,
                extra_options={"MatMulConstBOnly": True, "DefaultTensorType": onnx.TensorProto.FLOAT},
            )
        return {"quantized": len(linear), "seven_bits": saturates(cpu)}


def saturates(cpu: CpuFacts | None) -> bool:
    """Whether sums of two products of an unsigned and a signed byte overflow on this processor."""
    sets = set(cpu.instruction_sets) if cpu else set()
    return "avx2" in sets and not sets & _EXACT_INT8
