"""Length buckets: copies of a graph with a fixed length and shared weights."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnxruntime.tools.onnx_model_utils import make_dim_param_fixed


def fix_length(graph: Path, out: Path, axis: str, length: int) -> None:
    """Writes `graph` with the axis called `axis` fixed at `length` to `out`, in the same folder.

    Weights stay in the file of `graph`, so that a bucket costs kilobytes on disk.
    """
    model = onnx.load(graph, load_external_data=False)
    # Inner shapes were inferred for a dynamic length; a runtime infers them again.
    del model.graph.value_info[:]
    make_dim_param_fixed(model.graph, axis, length)
    onnx.save(model, out)
