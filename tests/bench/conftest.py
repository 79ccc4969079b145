from __future__ import annotations

import pytest
import tiny_bundle

from edgeattn.bench.protocol import Protocol


@pytest.fixture
def tiny(tmp_path):
    """A sound bundle."""
    return tiny_bundle.make(tmp_path / "tiny")


@pytest.fixture
def hasty(monkeypatch):
    """A protocol that takes milliseconds, also used for --quick."""
    protocol = Protocol(
        name="quick",
        window_s=0.005,
        agree=0.5,
        warm_min_s=0.01,
        warm_max_s=0.1,
        blocks=2,
        block_s=0.005,
        samples=64,
        measure_max_s=0.2,
        p99_s=0.0,
        energy_s=0.1,
        feeds=4,
    )
    monkeypatch.setattr(Protocol, "quick", classmethod(lambda cls: protocol))
    return protocol
