"""A sensor that is absent, stuck, negative or wrapped is unavailable, never 0 joules."""

from __future__ import annotations

import math
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeattn.devices import PowerModel
from edgeattn.meters.counter import Counter
from edgeattn.meters.faults import SensorError
from edgeattn.meters.model import PowerModelMeter
from edgeattn.meters.power import PowerTally, Stillness
from edgeattn.meters.rapl import Rapl
from tests.meters.powercap import RANGE_UJ, package, reading
from tests.meters.simulated import joules

PERIOD_NS = 50_000_000


def test_absent(tmp_path: Path) -> None:
    meter = Rapl(tmp_path)

    assert meter.available() == "no RAPL package zones (another processor, a virtual machine or a container)"
    with meter.window() as window:
        pass
    assert window.energy is None
    assert window.reason == meter.available()


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


def _load(at_s: float) -> float:
    return 7.0 + 0.01 * math.sin(91 * at_s)


@pytest.mark.parametrize(
    ("watts", "reason"),
    [
        (0.0, "the sensor reads 0 W"),
        (-6.55, "the sensor reads -6.55 W"),
        (float("nan"), "the sensor reads nan W"),
        (float("inf"), "the sensor reads inf W"),
        (65_535.0, "the sensor reads 65535 W"),
    ],
)
def test_an_impossible_power_once_in_a_window(watts: float, reason: str) -> None:
    with pytest.raises(SensorError) as caught:
        joules(lambda at_s: watts if 3.0 < at_s < 3.06 else _load(at_s))

    assert str(caught.value) == reason


def test_a_power_sensor_that_sticks_halfway() -> None:
    with pytest.raises(SensorError, match="the sensor is stuck: 7 W for 5 s"):
        joules(lambda at_s: _load(at_s) if at_s < 4.0 else 7.0)


def test_a_power_sensor_that_is_stuck_is_found_over_several_short_windows() -> None:
    stillness = Stillness(period_s=0.1)

    def window(start_s: int) -> None:
        tally = PowerTally(lambda: 7.0, "a test", period_s=0.1, stillness=stillness)
        for tenth in range(21):
            tally.add(7.0, start_s * 10**9 + tenth * 10**8)

    window(0)
    window(100)  # what was between windows was not seen, and does not count
    with pytest.raises(SensorError, match="stuck"):
        window(200)
    window(300)  # judged anew: it may have been a machine with nothing to do


@pytest.mark.parametrize(
    ("lost", "reason"),
    [
        (lambda at_s: at_s > 9.0, "no reading for 1.01 s: curr1_input cannot be read: Input/output error"),
        (lambda at_s: 4.0 < at_s < 4.6, "no reading for 0.65 s: curr1_input cannot be read: Input/output error"),
        (lambda at_s: at_s % 1 < 0.2, "readings missing for 2."),
        (lambda at_s: at_s > 0.0, "1 readings in a window of 10.00 s: curr1_input"),
    ],
    ids=["until the end", "for too long", "too often", "from the start"],
)
def test_dropouts_that_cannot_be_bridged(lost: Callable[[float], bool], reason: str) -> None:
    with pytest.raises(SensorError) as caught:
        joules(_load, lost=lost)

    assert str(caught.value).startswith(reason)
