"""int8: weights and activations with fixed ranges, learned from calibration samples by NNCF on the ONNX graph."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from edgeattn import worker
from edgeattn.bench.inputs import Arrays, load_feeds, save_feeds
from edgeattn.devices.profile import CpuFacts
from edgeattn.errors import DataError, ToolError
from edgeattn.quantize.arithmetic import Arithmetic
from edgeattn.quantize.int8_dynamic import saturates
from edgeattn.quantize.method import Calibrated, Method
from edgeattn.quantize.weights import layer_name, linear_layers, row_layers
from edgeattn.validation import Part

_TIMEOUT_S = 3600.0
# Every fifth sample does not calibrate but checks the result.
_HOLD_BACK = 5
_MOST_HELD_BACK = 12
_RANKED_WITH = 4  # samples, for each layer of a graph that misses its cosine


class Int8Options(Calibrated):
    smooth: float = Field(
        default=0.85,
        ge=0,
        le=1,
        description="SmoothQuant's alpha: how far outliers of activations are moved into the weights; 0 for not at all",
    )
    activation_products: bool = Field(
        default=False,
        description="also quantizes products of two activations inside attention; linear attention does not survive it",
    )
    least_cosine: float = Field(
        default=0.99,
        gt=0,
        le=1,
        description="mean cosine to the fp32 graph's outputs that is kept, by leaving the worst layers in float",
    )


class Int8(Method):
    """Linear layers with int8 weights per channel and int8 inputs of a fixed range.

    The graph holds QDQ pairs, signed and symmetric, so that ONNX Runtime, OpenVINO and TensorRT all take it. Biases,
    norms, softmax, masks, residual sums, embeddings, convolutions and layers of one row stay in float.
    """

    name = "int8"
    Options: ClassVar[type[Part]] = Int8Options
    needs_calibration = True
    fused = False  # NNCF does not know fused operators, and the graph is for several runtimes
    arithmetic = Arithmetic(linear="int8", weight_bits=8)
    least_cosine = 0.9

    @classmethod
    def quantize(
        cls, graph: Path, out: Path, *, cpu: CpuFacts | None, calibration: Sequence[Arrays], options: Part
    ) -> dict[str, Any]:
        if not calibration:
            raise DataError(
                "int8 needs calibration samples, and there are none",
                where="quantize.methods",
                fix="give training data, or remove int8",
            )
        with tempfile.TemporaryDirectory(dir=out.parent) as folder:
            save_feeds(Path(folder) / "calibration.npz", calibration)
            # In a process of its own: NNCF prints, and makes itself the logger class of its process.
            facts: dict[str, Any] = worker.call(
                "edgeattn.quantize.int8:work",
                {
                    "graph": str(graph),
                    "out": str(out),
                    "folder": folder,
                    "seven_bits": saturates(cpu),
                    "options": options.model_dump(),
                },
                stage="quantize",
                timeout_s=_TIMEOUT_S,
            )
        return facts


def work(argument: dict[str, Any]) -> dict[str, Any]:
    """The worker's side of `Int8.quantize`."""
    import onnx

    from edgeattn.quantize.fallback import leave_in_float
    from edgeattn.quantize.qdq import SWITCH, QdqGraph
    from edgeattn.quantize.session import cosine, outputs, session

    graph, folder = Path(argument["graph"]), Path(argument["folder"])
    options = Int8Options.model_validate(argument["options"])
    samples = load_feeds(folder / "calibration.npz")
    step = max(_HOLD_BACK, len(samples) // _MOST_HELD_BACK)
    held_back = samples[::step]
    calibrating = [feeds for index, feeds in enumerate(samples) if index % step] or samples
    model = onnx.load(graph)
    for index, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{index}"  # layers are known by name
    rows = row_layers(model)
    layers = [layer for layer in linear_layers(model) if layer not in rows]
    if not layers:
        raise ToolError("no linear layer to quantize", where=graph.name, fix="use methods: [fp32]")
    if options.activation_products:
        layers += _products(model)
    named = {node.name: layer_name(node) for node in model.graph.node}
    expected = outputs(session(onnx.load(graph, load_external_data=False), graph.parent), held_back)
    quantized = QdqGraph(_with_nncf(model, layers, calibrating, options, seven_bits=argument["seven_bits"]))
    switchable = folder / "switchable.onnx"
    quantized.save_switchable(switchable)
    runner = session(onnx.load(switchable, load_external_data=False), folder)

    def cosine_without(left_in_float: Collection[str], checked: slice = slice(None)) -> float:
        switch = np.array([layer not in left_in_float for layer in quantized.layers])
        return cosine(outputs(runner, held_back[checked], **{SWITCH: switch}), expected[checked])

    few = slice(None, None, math.ceil(len(held_back) / _RANKED_WITH))
    errors = {layer: max(0.0, 1 - cosine_without({*quantized.layers} - {layer}, few)) for layer in quantized.layers}
    left, found = leave_in_float(cosine_without, errors, options.least_cosine)
    quantized.save(Path(argument["out"]), left)
    return {
        "quantized": len(quantized.layers) - len(left),
        "left_in_float": [named[layer] for layer in left],
        "cosine": round(found, 6),
        "sensitivity": {named[layer]: float(f"{error:.3g}") for layer, error in errors.items()},
        "samples": len(calibrating),
        "held_back": len(held_back),
        "seven_bits": argument["seven_bits"],
    }


def _products(model: Any) -> list[str]:
    """The names of the nodes that multiply two activations."""
    constants = {weight.name for weight in model.graph.initializer}
    return [node.name for node in model.graph.node if node.op_type == "MatMul" and not constants & {*node.input}]


def _with_nncf(
    model: Any, layers: Sequence[str], samples: Sequence[Arrays], options: Int8Options, *, seven_bits: bool
) -> Any:
    os.environ["NNCF_CI"] = "1"  # no telemetry; read while it is imported
    import nncf
    from nncf.onnx.quantization.backend_parameters import BackendParameters
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    parameters = nncf.AdvancedQuantizationParameters(
        overflow_fix=nncf.OverflowFix.ENABLE if seven_bits else nncf.OverflowFix.DISABLE,
        # On MiniLM it changed the cosine by 0.002 at most, for a third of the time.
        disable_bias_correction=True,
        # The mean over samples, its default, cuts off the outliers that SmoothQuant has not moved.
        activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
        smooth_quant_alphas=nncf.AdvancedSmoothQuantParameters(matmul=options.smooth or -1),
        backend_params={BackendParameters.COMPRESS_WEIGHTS: False},
    )
    ignored = [node.name for node in model.graph.node if node.name not in layers]
    try:
        return nncf.quantize(
            model,
            nncf.Dataset(samples),
            preset=nncf.QuantizationPreset.PERFORMANCE,  # symmetric
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(samples),
            ignored_scope=nncf.IgnoredScope(names=ignored, validate=False),
            advanced_parameters=parameters,
        )
    except (nncf.ValidationError, nncf.InternalError, nncf.UnsupportedModelError, RuntimeError, ValueError) as error:
        raise ToolError(
            f"NNCF could not quantize the graph: {error}", where="quantize.methods", fix="remove int8"
        ) from error
