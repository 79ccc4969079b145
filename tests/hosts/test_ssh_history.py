"""A bench on a device is in the history of the machine that asked for it."""

from __future__ import annotations

import json

from ssh_device import fake

from edgeattn.cli.main import run
from edgeattn.history.file import read


def measured(digest, p50_ms):
    return {
        "created_utc": "2026-05-01T12:00:00+00:00",
        "machine": {"cpu_model": "Cortex-A76", "power_mode": None, "governor": "performance"},
        "contestants": {"efficient": {"bundle": digest, "method": "fp32"}},
        "protocol": {"name": "quick"},
        "threads": 4,
        "unit": "tokens",
        "cells": [
            {
                "length": 8,
                "batch_size": 1,
                "contestants": {
                    "efficient": {
                        "p50_ms": p50_ms,
                        "p90_ms": None,
                        "energy_mj": None,
                        "energy_scope": None,
                        "peak_memory_mb": 12.5,
                    }
                },
            }
        ],
    }


def test_what_a_device_has_measured_is_kept_here(device, tiny, tmp_path, monkeypatch, capsys):
    history = tmp_path / "history.sqlite"
    monkeypatch.setenv("EDGEATTN_HISTORY", str(history))
    (tmp_path / "document").write_text(json.dumps(measured(tiny.manifest.digest, 2.5)))
    fake(device, f"cat {tmp_path / 'document'}")
    assert run(["bench", str(tiny.path), "--host", "board", "--json"]) == 0
    (kept,) = read(history)
    assert (kept.name, kept.processor, kept.power_mode, kept.p50_ms) == ("tiny", "Cortex-A76", "performance", 2.5)

    (tmp_path / "document").write_text(json.dumps(measured(tiny.manifest.digest, "<b>fast</b>")))
    capsys.readouterr()
    assert run(["bench", str(tiny.path), "--host", "board", "--json"]) == 0
    assert "the bench is not in the history: its document cannot be read" in capsys.readouterr().err
    assert len(read(history)) == 1
