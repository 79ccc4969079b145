"""Clock, temperature and slowdowns of an NVIDIA GPU with a driver of its own, from NVML.

The bits are NVML's "clocks event reasons". Left out is the software's power cap (0x4): under a heavy load it holds a
GPU at its power limit all the time, which is its power mode and no fault.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from edgeattn.devices.board import board_facts
from edgeattn.devices.conditions.thermal import Zone
from edgeattn.devices.nvml import NoNvml, gpu_of, library

_REASONS = {
    0x8: "the GPU slowed by its hardware",
    0x20: "the GPU slowed by heat",
    0x40: "the GPU slowed by heat, in hardware",
    0x80: "the GPU slowed by its power supply",
}
# The first is the newer name of the second; a driver before version 535 only has the second.
_ASK_REASONS = ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons")


class NvidiaGpu:
    """The GPU that CUDA takes. Where there is none, or NVML does not tell, all of it is unknown."""

    def __init__(self, root: Path, environment: Mapping[str, str] = os.environ) -> None:
        # A Jetson's GPU is not listed there, and NVML would not tell of it.
        self._opened = _opened(environment) if board_facts(root).gpus else None

    def mhz(self) -> int | None:
        """The clock of its multiprocessors now."""
        return self._asked(lambda nvml, gpu: nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_SM)) or None

    def zone(self) -> Zone | None:
        """Its temperature."""
        celsius = self._asked(lambda nvml, gpu: nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU))
        return Zone("gpu", celsius, self._threshold("SLOWDOWN"), self._threshold("SHUTDOWN")) if celsius else None

    def slowing(self) -> list[str]:
        """What slows it now, in words."""
        for name in _ASK_REASONS:
            bits = self._asked(partial(_call, name))
            if bits is not None:
                return [title for bit, title in _REASONS.items() if bits & bit]
        return []

    def _threshold(self, name: str) -> float | None:
        name = f"NVML_TEMPERATURE_THRESHOLD_{name}"
        return self._asked(lambda nvml, gpu: nvml.nvmlDeviceGetTemperatureThreshold(gpu, getattr(nvml, name))) or None

    def _asked(self, ask: Callable[[Any, Any], int]) -> int | None:
        """The answer; None where the driver, or the package, does not know it."""
        if self._opened is None:
            return None
        nvml, gpu = self._opened
        try:
            return ask(nvml, gpu)
        except (nvml.NVMLError, AttributeError):
            return None


def _call(name: str, nvml: Any, gpu: Any) -> int:
    found: int = getattr(nvml, name)(gpu)
    return found


def _opened(environment: Mapping[str, str]) -> tuple[Any, Any] | None:
    """NVML and the GPU's handle."""
    try:
        nvml = library()
    except NoNvml:
        return None
    try:
        return nvml, gpu_of(nvml, environment)
    except (NoNvml, nvml.NVMLError):
        return None
