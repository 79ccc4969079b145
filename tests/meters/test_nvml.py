"""NVML, with a stand-in for NVIDIA's package: this project's tests run without a GPU."""

from __future__ import annotations

import itertools
import sys
import time
from types import ModuleType
from typing import Any

import pytest

from edgeattn.meters.nvml import Nvml


class NVMLError(Exception):
    pass


class NVMLError_NotSupported(NVMLError):
    def __str__(self) -> str:
        return "Not Supported"


class NVMLError_FunctionNotFound(NVMLError):
    pass


class NVMLError_LibraryNotFound(NVMLError):
    pass


class NVMLError_GpuIsLost(NVMLError):
    def __str__(self) -> str:
        return "GPU is lost"


class Driver(ModuleType):
    """`pynvml` of a machine with `count` GPUs. energy_mj, power_mw: read from, or raised."""

    def __init__(self, *, energy_mj: Any = None, power_mw: Any = None, count: int = 1, broken: Any = None) -> None:
        super().__init__("pynvml")
        self.energy_mj, self.power_mw, self.count, self.broken = energy_mj, power_mw, count, broken
        self.asked: list[object] = []
        for error in (NVMLError, *NVMLError.__subclasses__()):
            setattr(self, error.__name__, error)

    def nvmlInit(self) -> None:
        if self.broken:
            raise self.broken

    def nvmlDeviceGetCount(self) -> int:
        return self.count

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        self.asked.append(index)
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        self.asked.append(uuid)
        return uuid

    def nvmlDeviceGetName(self, gpu: object) -> str:
        return "RTX\x1b[2J A4000"

    def nvmlDeviceGetTotalEnergyConsumption(self, gpu: object) -> int:
        return _next(self.energy_mj)

    def nvmlDeviceGetPowerUsage(self, gpu: object) -> int:
        return _next(self.power_mw)


def _next(source: Any) -> int:
    if source is None:
        raise NVMLError_NotSupported
    found = next(source)
    if isinstance(found, Exception):
        raise found
    return int(found)


def _meter(monkeypatch: pytest.MonkeyPatch, driver: ModuleType | None, environment: dict[str, str] | None = None):
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    meter = Nvml(environment or {})
    meter.poll_s = 0.005
    return meter


def test_the_counter_of_energy_is_preferred(monkeypatch: pytest.MonkeyPatch) -> None:
    meter = _meter(monkeypatch, Driver(energy_mj=iter([1_000_000, 1_002_500]), power_mw=itertools.repeat(1)))
    meter.poll_s = 10.0  # so that only the last reading is taken

    with meter.window() as window:
        pass

    assert window.energy is not None
    assert window.energy.joules == pytest.approx(2.5)
    assert (window.energy.scope, window.energy.source) == ("gpu", "NVML energy counter, RTX A4000")


def test_without_a_counter_power_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    meter = _meter(monkeypatch, Driver(power_mw=itertools.cycle([70_000, 70_010])))

    with meter.window() as window:
        time.sleep(0.05)

    assert window.energy is not None, window.reason
    assert window.energy.watts == pytest.approx(70.005, rel=1e-3)
    assert window.energy.source == "NVML power, RTX A4000"


def test_a_jetson_that_supports_neither_has_no_energy_and_not_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    meter = _meter(monkeypatch, Driver())

    reason = meter.available()
    assert reason is not None
    assert reason.startswith("the driver measures neither energy nor power of this GPU (NVML: NotSupported)")
    with meter.window() as window:
        pass
    assert (window.energy, window.reason) == (None, reason)


@pytest.mark.parametrize(
    ("driver", "reason"),
    [
        (None, "NVML's Python package is missing: pip install 'edgeattn[nvml]'"),
        (
            Driver(broken=NVMLError_LibraryNotFound()),
            "no NVIDIA driver here: libnvidia-ml.so.1 is not found (a container sees it with --gpus all)",
        ),
        (Driver(energy_mj=iter([NVMLError_GpuIsLost()])), "NVML: GPU is lost"),
        (Driver(power_mw=iter([70_000, 0])), "the sensor reads 0 W"),
    ],
)
def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch, driver: ModuleType | None, reason: str) -> None:
    assert _meter(monkeypatch, driver).available() == reason


@pytest.mark.parametrize(
    ("readings", "reason"),
    [
        ([5000, 5000], "NVML's energy counter did not move in the window"),
        ([5000, 100], "NVML's energy counter fell from 5000000 to 100000 without having wrapped"),
        ([5000, NVMLError_GpuIsLost()], "NVML: GPU is lost"),
    ],
)
def test_a_counter_that_fails_in_the_window(monkeypatch: pytest.MonkeyPatch, readings: list[Any], reason: str) -> None:
    meter = _meter(monkeypatch, Driver(energy_mj=iter(readings)))
    meter.poll_s = 10.0

    with meter.window() as window:
        pass

    assert (window.energy, window.reason) == (None, reason)


@pytest.mark.parametrize(
    ("environment", "asked"),
    [
        ({"CUDA_VISIBLE_DEVICES": "GPU-5f2a"}, "GPU-5f2a"),
        ({"CUDA_VISIBLE_DEVICES": "1,0", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, 1),
        ({"CUDA_VISIBLE_DEVICES": "1"}, None),
        ({}, None),
    ],
)
def test_of_several_gpus_the_one_that_cuda_takes(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], asked: object
) -> None:
    driver = Driver(energy_mj=itertools.count(1000), count=2)
    reason = _meter(monkeypatch, driver, environment).available()

    if asked is None:
        assert reason is not None
        assert "2 GPUs, and it is not known which one CUDA takes" in reason
    else:
        assert reason is None
        assert driver.asked == [asked]
