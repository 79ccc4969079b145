"""Runtimes, one file each, behind a closed registry. The entries are instances."""

from __future__ import annotations

from edgeattn.registry import Registry
from edgeattn.runtimes.base import Runtime

RUNTIMES: Registry[Runtime] = Registry(
    "runtime",
    {
        "onnxruntime": "edgeattn.runtimes.onnxruntime:RUNTIME",
        "openvino": "edgeattn.runtimes.openvino:RUNTIME",
        "tensorrt": "edgeattn.runtimes.tensorrt_family.runtime:TENSORRT_RUNTIME",
        "tensorrt_rtx": "edgeattn.runtimes.tensorrt_family.runtime:RTX_RUNTIME",
    },
)
