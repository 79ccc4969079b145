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
from edgeattn.quantize.weights import linear_layers
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
    norms, softmax, masks, residual sums and embeddings stay in float.
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
    from edgeattn.quantize.qdq import QdqGraph

    graph, folder = Path(argument["graph"]), Path(argument["folder"])
    options = Int8Options.model_validate(argument["options"])
    samples = load_feeds(folder / "calibration.npz")
    step = max(_HOLD_BACK, len(samples) // _MOST_HELD_BACK)
    held_back = samples[::step]
    calibrating = [feeds for index, feeds in enumerate(samples) if index % step] or samples
    model = onnx.load(graph)
    for index, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{index}"  # layers are known by name
    layers = linear_layers(model)
    if not layers:
        raise ToolError("no linear layer to quantize", where=graph.name, fix="use methods: [fp32]")
    if options.activation_products:
        layers += _products(model)
    expected = _outputs(graph.read_bytes(), graph.parent, held_back)
    quantized = QdqGraph(_with_nncf(model, layers, calibrating, options, seven_bits=argument["seven_bits"]))
    every_form = folder / "all.onnx"
    quantized.save_all(every_form)

    def cosine_without(left_in_float: Collection[str], checked: slice = slice(None)) -> float:
        found = _outputs(quantized.variant(every_form, left_in_float), folder, held_back[checked])
        return _cosine(found, expected[checked])

    spread = slice(None, None, math.ceil(len(held_back) / _RANKED_WITH))
    left, cosine = leave_in_float(
        cosine_without, quantized.layers, options.least_cosine, rank=lambda others: cosine_without(others, spread)
    )
    quantized.save(Path(argument["out"]), left)
    return {
        "quantized": len(quantized.layers) - len(left),
        "left_in_float": left,
        "cosine": round(cosine, 6),
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


def _outputs(model: bytes, weights: Path, samples: Sequence[Arrays]) -> list[list[np.ndarray[Any, Any]]]:
    """The outputs of a graph, whose weights lie in the folder `weights`, for each sample."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    # Below the level that makes integer kernels of the pairs: those may saturate here and not on the target.
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    settings.add_session_config_entry("session.model_external_initializers_file_folder_path", str(weights))
    session = onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
    return [session.run(None, feeds) for feeds in samples]


def _cosine(found: Sequence[Sequence[Any]], expected: Sequence[Sequence[Any]]) -> float:
    """The mean over samples of the cosine of each output, of the output where it is least; -1 if it is not finite."""
    from edgeattn.metrics import mean_cosine

    count = len(expected[0])
    values = [
        np.mean(
            [
                mean_cosine(got[n].reshape(1, -1), want[n].reshape(1, -1))
                for got, want in zip(found, expected, strict=True)
            ]
        )
        for n in range(count)
    ]
    least = float(min(values))
    return least if np.isfinite(least) else -1.0
