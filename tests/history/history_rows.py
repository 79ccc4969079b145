"""Rows of a history, made by hand."""

from __future__ import annotations

from edgeattn.history.measurement import Measurement


def row(day: int, p50_ms: float, **changed) -> Measurement:
    """What a bench of a day in May has measured."""
    return Measurement(
        **{
            "created_utc": f"2026-05-{day:02d}T12:00:00+00:00",
            "bundle": "sha256:" + f"{day:064x}",
            "name": "kws",
            "engine": "efficient",
            "device": "pi5",
            "processor": "Cortex-A76",
            "power_mode": "performance",
            "runtime": "onnxruntime",
            "method": "int8",
            "edgeattn": "0.1.0",
            "protocol": "full",
            "threads": 4,
            "unit": "tokens",
            "length": 128,
            "batch_size": 1,
            "p50_ms": p50_ms,
            "p90_ms": None,
            "energy_mj": None,
            "energy_scope": None,
            "peak_memory_mb": 20.0,
            **changed,
        }
    )
