"""Graphs that are run here, in ONNX Runtime, to learn what quantizing does to their values."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from edgeattn.bench.inputs import Arrays

Outputs = list[list[np.ndarray[Any, Any]]]  # of each sample


def session(model: ir.Model | onnx.ModelProto, weights: Path) -> Any:
    """A session in which each node computes what the graph says.

    weights: the folder of the model's external data.
    """
    import onnxruntime

    proto = ir.to_proto(model) if isinstance(model, ir.Model) else model
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    # No integer kernels in place of pairs: those may saturate here and not on the target.
    settings.add_session_config_entry("session.disable_quant_qdq", "1")
    settings.add_session_config_entry("session.model_external_initializers_file_folder_path", str(weights))
    return onnxruntime.InferenceSession(
        proto.SerializeToString(), settings, providers=["CPUExecutionProvider"],
        # Measured 8 x slower than the two operators that it fuses, on AVX512.
        disabled_optimizers=["SkipLayerNormFusion"],
    )  # fmt: skip


def outputs(runner: Any, samples: Sequence[Arrays], **more: Any) -> Outputs:
    """The outputs of each sample. more: inputs that all of them share."""
    return [runner.run(None, {**sample, **more}) for sample in samples]


def cosine(found: Outputs, expected: Outputs) -> float:
    """The mean over samples of the cosine of each output, of the output where it is least; -1 if it is not finite."""
    from edgeattn.metrics import mean_cosine

    pairs = list(zip(found, expected, strict=True))
    with np.errstate(invalid="ignore"):
        values = [
            np.mean([mean_cosine(got[n].reshape(1, -1), want[n].reshape(1, -1)) for got, want in pairs])
            for n in range(len(expected[0]))
        ]
    least = float(min(values))
    return least if np.isfinite(least) else -1.0
