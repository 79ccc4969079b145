"""How long a gate times each process."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeattn.gate.protocols import FULL, QUICK, protocol_of
from edgeattn.meters.model import PowerModelMeter
from edgeattn.meters.rapl import Rapl


def test_a_sensor_has_a_full_window_in_every_pair(tmp_path: Path) -> None:
    for period_s, window_s in ((0.05, 10.0), (1.0, 100.0)):
        protocol = protocol_of(False, Rapl(tmp_path, period_s=period_s))
        assert protocol.blocks * protocol.block_s == pytest.approx(window_s)


def test_an_estimate_or_no_meter_takes_no_longer() -> None:
    assert protocol_of(False, None) == protocol_of(False, PowerModelMeter(None)) == FULL
    assert protocol_of(True, None) == QUICK
