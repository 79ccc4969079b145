"""Length buckets: copies of a graph whose sequence length is fixed, on the same weights."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnxruntime.tools.onnx_model_utils import make_dim_param_fixed

AXIS = "sequence"


def fix_length(graph: Path, out: Path, length: int) -> None:
    """Writes `graph` with its axis "sequence" fixed at `length` to `out`, in the same folder.

    Weights stay in the file that `graph` reads them from, so that a bucket costs kilobytes on disk.
    """
    model = onnx.load(graph, load_external_data=False)
    # Shapes in between were inferred for a length that may change; a runtime infers them anew.
    del model.graph.value_info[:]
    make_dim_param_fixed(model.graph, AXIS, length)
    onnx.save(model, out)
