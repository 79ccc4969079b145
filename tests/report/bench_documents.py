"""Bench, verify and build documents as the report gets them."""

from __future__ import annotations

import copy

_ENGINE = {
    "p50_ms": 20.0,
    "p90_ms": 21.0,
    "p50_ms_by_pair": [20.0] * 6,
    "peak_memory_mb": 100.0,
    "energy_mj": None,
    "energy_scope": None,
    "energy_source": None,
    "samples": 600,
    "outliers": 4,
    "steady": True,
}


def speedup(ratio, low=None, high=None, pairs=6):
    confidence = None if low is None else 0.96875
    return {"ratio": ratio, "low": low, "high": high, "confidence": confidence, "pairs": pairs}


def bench(ratios, *, names=("dense", "efficient"), unit="tokens", digest="sha256:" + "a" * 64):
    """ratios: length -> the (ratio, low, high) of every contestant after the first, or a list of them."""
    cells = []
    for length, found in ratios.items():
        each = found if isinstance(found, list) else [found]
        speedups = {name: speedup(*ratio) for name, ratio in zip(names[1:], each, strict=True)}
        engines = {names[0]: copy.deepcopy(_ENGINE)}
        engines |= {name: {**copy.deepcopy(_ENGINE), "p50_ms": 20.0 / speedups[name]["ratio"]} for name in names[1:]}
        cells.append({"length": length, "batch_size": 1, "contestants": engines, "speedups": speedups})
    contestants = {
        name: {
            "bundle": digest,
            "method": "int8-dynamic" if place else "fp32",
            "disk_bytes": 1_000_000 if place else 4_000_000,
            "golden_outputs_of": "student",
            "least_cosine": 0.9,
            "runtime": {"runtime": "onnxruntime", "runtime_version": "1.32.0"},
            "cold_start_ms": 90.0,
        }
        for place, name in enumerate(names)
    }
    return {
        "schema": 2,
        "created_utc": "2026-01-02T00:00:00+00:00",
        "machine": {"cpu_model": "Cortex-A76", "cores_usable": 4.0, "max_mhz": None},
        "reference": names[0],
        "unit": unit,
        "contestants": contestants,
        "threads": 4,
        "pairs": 6,
        "protocol": {"name": "full"},
        "cells": cells,
    }


def verify():
    drift = {"max_abs": 1e-6, "min_cosine": 0.9999, "mean_cosine": 1.0, "non_finite": 0, "against": "student"}
    metric = {"value": 0.8203, "teacher": 0.8211, "floor": 0.8129, "passed": True}
    golden = {"sentence_embedding": {"student": drift, "teacher": drift, "least_cosine": 0.9999, "passed": True}}
    return {"passed": True, "reasons": [], "metrics": {"spearman": metric}, "golden": golden, "machine": {}}


def candidate(name, ms, state, *, side="efficient", **facts):
    return {
        "name": name,
        "side": side,
        "method": "int8-dynamic",
        "runtime": "onnxruntime",
        "configuration": "default",
        "latency_ms": {} if ms is None else {"128": ms / 4, "512": ms},
        "bytes": 23_000_000,
        "cosine": 0.9981,
        "metrics": {"spearman": 0.8213} if state in ("shipped", "below the floor") else None,
        "within_floor": {"shipped": True, "below the floor": False}.get(state),
        "state": state,
        **facts,
    }


def build():
    return {
        "candidates": [
            candidate("plain fp32", 50.0, "not faster", method="fp32", few_rounds=True),
            candidate("plain int8-dynamic", 20.0, "shipped"),
            candidate("plain int8", 18.0, "below the floor", runtime="openvino", configuration="bf16"),
            candidate("fused int8", None, "failed", why="openvino has no LinearAttention", runtime="openvino"),
            candidate("dense fp32", 90.0, "shipped", side="dense", method="fp32"),
        ],
        "efficient": {"because": "plain int8-dynamic is the fastest that keeps the floor"},
        "dense": {"because": "dense fp32 is all that was tried"},
    }


def profile(lengths=(512,)):
    """A profile document of dense and efficient."""
    kinds = {"dense": {"attention": 4.0, "matmul": 5.0, "norm": 1.0}, "efficient": {"attention": 1.0, "matmul": 5.0}}
    contestants = {}
    for name, times in kinds.items():
        total = sum(times.values())
        part = {"ms": total, "share": 1.0}
        cell = {
            "total_ms": total,
            "inference_ms": total,
            "timed_ms": total,
            "layers": [{"layer": "before", **part}, {"layer": "0", **part}],
            "kinds": [
                {"kind": kind, "ms": ms, "share": ms / total, "operators": 12, "roofline_ms": None, "of_roofline": None}
                for kind, ms in times.items()
            ],
            "operators": [{"name": "/encoder/MatMul", "kind": "matmul", "layer": "0", **part}],
        }
        cells = [{"length": length, **copy.deepcopy(cell)} for length in lengths]
        contestants[name] = {"runtime": "onnxruntime", "method": "its profiler", "unavailable": None, "cells": cells}
    return {"schema": 1, "contestants": contestants, "machine": {}, "unit": "tokens"}
