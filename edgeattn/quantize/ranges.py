"""The largest values that a graph computes on calibration samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir

from edgeattn.bench.inputs import Arrays

FLOAT = ir.DataType.FLOAT


def largest(model: ir.Model, weights: Path, samples: Sequence[Arrays]) -> dict[str, float]:
    """The largest magnitude of each fp32 value that a node computes, over all samples, by the value's name.

    weights: the folder of the model's external data.
    """
    from edgeattn.quantize.session import session

    wide = model.clone()
    values = [value for node in wide.graph for value in node.outputs if value.name and value.dtype is FLOAT]
    for value in values:
        magnitude = ir.node("Abs", [value])
        # Over all axes, which every opset takes without naming them. Of an empty value it is -inf.
        most = ir.node("ReduceMax", magnitude.outputs, {"keepdims": 0})
        most.outputs[0].name, most.outputs[0].dtype, most.outputs[0].shape = (
            f"{value.name}.largest",
            FLOAT,
            ir.Shape([]),
        )
        wide.graph.extend([magnitude, most])
        wide.graph.outputs.append(most.outputs[0])
    names = [str(value.name) for value in values]
    runner = session(wide, weights)
    asked = [f"{name}.largest" for name in names]
    found = np.array([runner.run(asked, sample) for sample in samples], np.float64).reshape(len(samples), -1)
    return dict(zip(names, found.max(axis=0, initial=0.0).tolist(), strict=True))
