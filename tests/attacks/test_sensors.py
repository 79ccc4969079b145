"""A sensor that is absent, stuck, negative or wrapped is unavailable, never 0 joules."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeattn.devices import PowerModel
from edgeattn.meters.model import PowerModelMeter
from edgeattn.meters.rapl import Counter, Rapl, SensorError
from tests.meters.powercap import RANGE_UJ, package, reading

PERIOD_NS = 50_000_000


def test_absent(tmp_path: Path) -> None:
    meter = Rapl(tmp_path)

    assert meter.available() == "no RAPL package zones (another processor, a virtual machine or a container)"
    with meter.window() as window:
        pass
    assert window.energy is None
    assert window.reason == "no RAPL package zones"


def _vanish(zone: Path) -> None:
    shutil.rmtree(zone)


def _keep_still(zone: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (_vanish, "energy_uj cannot be read: No such file or directory"),
        (_keep_still, "energy_uj did not move in the window"),
        (lambda zone: reading(zone, -7), f"energy_uj is -7, outside 0 to {RANGE_UJ}"),
        (lambda zone: reading(zone, RANGE_UJ + 1), f"outside 0 to {RANGE_UJ}"),
        (lambda zone: reading(zone, 5), "energy_uj fell from 1000000 to 5 without having wrapped"),
        (lambda zone: reading(zone, ""), "energy_uj is '', not a number"),
        (lambda zone: reading(zone, "\x1b[2J nan"), r"energy_uj is '\x1b[2J nan', not a number"),
    ],
)
def test_a_sensor_that_fails_in_the_window(fault: Callable[[Path], None], reason: str, tmp_path: Path) -> None:
    zone = package(tmp_path, 0, 1_000_000)

    with Rapl(tmp_path).window() as window:
        fault(zone)

    assert window.energy is None
    assert window.reason is not None
    assert reason in window.reason


def test_one_stuck_socket_spoils_the_sum(tmp_path: Path) -> None:
    package(tmp_path, 0, 1000)
    moving = package(tmp_path, 1, 1000)

    with Rapl(tmp_path).window() as window:
        reading(moving, 2000)

    assert window.energy is None


def test_a_sensor_that_moves_and_then_sticks(tmp_path: Path) -> None:
    zone = package(tmp_path, 0, 1000)

    with Rapl(tmp_path, period_s=0.005, stuck_after_s=0.02).window() as window:
        reading(zone, 2000)
        (thread,) = (each for each in threading.enumerate() if each.name == "edgeattn-rapl")
        thread.join(timeout=30)  # it ends when it detects the fault

    assert window.energy is None
    assert window.reason == "energy_uj is stuck at 2000"


def test_every_wrap_of_a_long_window_is_counted() -> None:
    range_uj = 1_000_000
    counter = Counter(range_uj, last_uj=0, last_ns=0)

    for tick in range(1, 101):  # 5 s at 6 W: thirty times around
        counter.add(tick * 300_000 % range_uj, tick * PERIOD_NS)

    assert counter.total_uj == 100 * 300_000


def test_a_counter_that_was_reset_has_not_wrapped() -> None:
    counter = Counter(RANGE_UJ, last_uj=1_000_000, last_ns=0)

    with pytest.raises(SensorError, match="fell from 1000000 to 0 without having wrapped"):
        counter.add(0, PERIOD_NS)


def test_no_movement_for_a_second_is_stuck() -> None:
    counter = Counter(RANGE_UJ, last_uj=1000, last_ns=0)
    counter.add(1000, 999_000_000)

    with pytest.raises(SensorError, match="energy_uj is stuck at 1000"):
        counter.add(1000, 1_000_000_000)


@pytest.mark.parametrize("readings", [(5.0, 5.0), (5.0, 4.0)], ids=["stuck", "negative"])
def test_cpu_time_that_cannot_be_gives_no_estimate(readings: tuple[float, float]) -> None:
    left = iter(readings)
    model = PowerModel(watts_per_core=10.0, idle_watts=None, source="a meter at the wall")

    with PowerModelMeter(model, cpu_seconds=lambda pids: next(left)).window() as window:
        pass

    assert window.energy is None
    assert window.reason is not None
    assert "s of CPU time seen" in window.reason
