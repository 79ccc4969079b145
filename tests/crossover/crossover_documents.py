"""A crossover document with given numbers, as `measure` returns it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from edgeattn.bench.crossing import crossing

LENGTHS = (64, 128, 256, 512, 1024, 2048, 4096)
NAMES = (
    *("hedgehog", "relu_linear", "elu_linear", "luna", "sliding_window", "dilated_window", "window_2d", "block_topk"),
    *("window_linear", "agent", "gated_delta", "identity"),
)


def _side(ms: float, forms: tuple[str, ...] = ("openvino plain",)) -> dict[str, Any]:
    runtime = forms[-1].partition(" ")[0]
    return {"form": forms[-1], "runtime": runtime, "ms": ms, "forms_ms": {form: [ms, ms] for form in forms}}


def document(names: tuple[str, ...] = NAMES, lengths: tuple[int, ...] = LENGTHS) -> dict[str, Any]:
    cells, pays = [], []
    for projections in (False, True):
        around = 0.002 if projections else 0.0
        for n in lengths:
            dense = 2e-5 * n**2 + around * n
            variants = {}
            for index, name in enumerate(names):
                ms = 0.1 + (0.001 * (index + 2) + around) * n
                ratio = dense / ms
                speedup = {"ratio": ratio, "low": ratio * 0.9, "high": ratio * 1.1, "confidence": 0.96875}
                variants[name] = {**_side(ms), "speedup": speedup}
            side = _side(dense, ("openvino plain", "onnxruntime MultiHeadAttention"))
            cells.append({"length": n, "projections": projections, "dense": side, "variants": variants})
        for name in names:
            speedups = {
                cell["length"]: cell["variants"][name]["speedup"]
                for cell in cells
                if cell["projections"] == projections
            }
            pays.append({"variant": name, "projections": projections, **asdict(crossing(speedups))})
    return {
        "machine": {"cpu_model": "AMD EPYC"},
        "runtimes": {"onnxruntime": "1.32.0", "openvino": "2026.4.0"},
        "precision": "fp32",
        "heads": 12,
        "head_dim": 32,
        "batch_size": 1,
        "causal": False,
        "key_mask": True,
        "threads": 2,
        "cells": cells,
        "pays": pays,
        "notes": ["N = 8192 and above: left out"],
    }
