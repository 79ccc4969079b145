"""Post-training quantization of an ONNX graph, by ONNX Runtime's own tools."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic

from edgeattn.devices.profile import CpuFacts
from edgeattn.errors import ToolError

# On x86 without one of these, the sum of two products of unsigned and signed bytes saturates at 16 bits.
_EXACT_INT8 = {"avx512_vnni", "avx_vnni", "amx_int8"}


def _fp32(source: Path, target: Path, cpu: CpuFacts | None) -> None:
    shutil.copyfile(source, target)
    shutil.copyfile(_data(source), _data(target))
    _point_to(target, _data(target).name)


def _int8_dynamic(source: Path, target: Path, cpu: CpuFacts | None) -> None:
    """Weights of linear layers in int8 per channel; their inputs are quantized at run time."""
    sets = set(cpu.instruction_sets) if cpu else set()
    model = onnx.load(source, load_external_data=False)
    rank = {weight.name: len(weight.dims) for weight in model.graph.initializer}
    # Only linear layers: products of two activations lose more accuracy than they gain speed, and ONNX Runtime's
    # kernel does not run per-head weights [H, D, F].
    linear = [
        node.name for node in model.graph.node if node.op_type in ("MatMul", "Gemm") and rank.get(node.input[1]) == 2
    ]
    if not linear:
        raise ToolError("no linear layer to quantize", where=source.name, fix="use methods: [fp32]")
    # quantize_dynamic infers shapes itself and fails on shapes that are there already.
    del model.graph.value_info[:]
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        bare = Path(folder) / source.name
        onnx.save(model, bare)
        shutil.copyfile(_data(source), _data(bare))
        quantize_dynamic(
            bare,
            target,
            nodes_to_quantize=linear,
            per_channel=True,
            reduce_range="avx2" in sets and not sets & _EXACT_INT8,
            weight_type=QuantType.QInt8,
            use_external_data_format=True,
            extra_options={"MatMulConstBOnly": True, "DefaultTensorType": onnx.TensorProto.FLOAT},
        )


# The most precise first.
_METHODS: dict[str, Callable[[Path, Path, CpuFacts | None], None]] = {
    "fp32": _fp32,
    "int8-dynamic": _int8_dynamic,
}


METHODS = tuple(_METHODS)

# Between an output and its golden output; the floor of what fp32 may differ by is the order of its sums. Dynamic int8
# was measured at 0.98 to 0.99. Whether that is good enough, the task's metric decides; this only detects an engine that
# computes another function.
LEAST_COSINE = {"fp32": 0.9999, "int8-dynamic": 0.9}


def quantize(source: Path, target: Path, method: str, cpu: CpuFacts | None) -> None:
    """Writes `source` (an fp32 graph with its weights in <name>.data) to `target` in `method`.

    cpu: the target's processor, which sets the range of int8 weights.
    """
    _METHODS[method](source, target, cpu)


def _data(graph: Path) -> Path:
    return graph.with_name(f"{graph.name}.data")


def _point_to(graph: Path, data: str) -> None:
    """Makes the graph read its weights from the file `data` beside it."""
    model = onnx.load(graph, load_external_data=False)
    for weight in model.graph.initializer:
        for entry in weight.external_data:
            if entry.key == "location":
                entry.value = data
    onnx.save(model, graph)
