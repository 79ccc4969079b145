from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence

import psutil
import pytest

from edgeattn.devices import PowerModel
from edgeattn.meters.model import PowerModelMeter, cpu_seconds

MODEL = PowerModel(watts_per_core=10.0, source="a meter at the wall")
BURN = "import sys, time\nwhile time.process_time() < 0.2: pass\nprint('burnt', flush=True)\nsys.stdin.read()"


def _readings(*values: float) -> Callable[[Sequence[int]], float]:
    left = iter(values)
    return lambda pids: next(left)


@pytest.fixture
def idle_child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", BURN], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        yield child


def test_joules_are_watts_times_cpu_seconds_and_labelled_an_estimate() -> None:
    meter = PowerModelMeter(MODEL, cpu_seconds=_readings(5.0, 7.5))

    assert meter.available() is None
    with meter.window() as window:
        pass

    assert window.energy is not None
    assert window.energy.joules == pytest.approx(25.0)
    assert window.energy.scope == "model"
    assert window.energy.source == "estimate: a meter at the wall"


def test_idle_watts_are_drawn_all_the_time() -> None:
    idle = MODEL.model_copy(update={"idle_watts": 3.0})
    with PowerModelMeter(idle, cpu_seconds=_readings(5.0, 7.5)).window() as window:
        pass

    assert window.energy is not None
    assert window.energy.joules == pytest.approx(25.0 + 3.0 * window.energy.seconds)


def test_without_a_power_model_there_is_no_estimate() -> None:
    meter = PowerModelMeter(None)

    assert meter.available() == "the device profile has no power model for this processor"
    with meter.window() as window:
        pass
    assert window.energy is None


def test_the_work_of_a_child_process_is_seen_and_stays_when_it_ends(
    idle_child: subprocess.Popen[bytes],
) -> None:
    assert cpu_seconds([idle_child.pid]) >= 0.19  # the kernel counts in steps of 10 ms

    before = cpu_seconds([os.getpid()])
    idle_child.communicate()
    assert cpu_seconds([os.getpid()]) >= before - 0.02


def test_a_process_and_its_descendant_are_not_counted_twice(idle_child: subprocess.Popen[bytes]) -> None:
    alone = cpu_seconds([os.getpid()])

    assert cpu_seconds([os.getpid(), idle_child.pid]) < alone + 0.15


def test_a_process_that_is_gone_has_no_energy(idle_child: subprocess.Popen[bytes]) -> None:
    with PowerModelMeter(MODEL).window([idle_child.pid]) as window:
        idle_child.communicate()

    assert window.energy is None
    assert window.reason is not None
    assert f"pid={idle_child.pid}" in window.reason


def test_only_a_missing_descendant_is_forgiven() -> None:
    with pytest.raises(psutil.NoSuchProcess):
        cpu_seconds([2**31 - 1])
