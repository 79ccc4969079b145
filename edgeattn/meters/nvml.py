"""Joules of an NVIDIA GPU, from NVML.

The counter of millijoules since the driver was loaded is taken where the GPU has one (Volta and later), else its
power is sampled. A Jetson's NVML starts and then answers NotSupported to both.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from edgeattn.devices import DeviceProfile
from edgeattn.devices.nvml import NoNvml, gpu_of, library
from edgeattn.meters.base import Scope
from edgeattn.meters.counter import Counter, CounterTally
from edgeattn.meters.faults import Dropout, SensorError
from edgeattn.meters.power import PowerTally, Stillness
from edgeattn.meters.sampled import SampledMeter, Tally
from edgeattn.plaintext import plain

_RANGE_UJ = 2**64 * 1000  # 64 bits of mJ
_STUCK_S = 2.0  # drivers update the counter every 20 to 100 ms


class Nvml(SampledMeter):
    """The energy of one GPU: the first that CUDA_VISIBLE_DEVICES names, or the only one."""

    name = "nvml"
    scope: Scope = "gpu"
    poll_s = 0.1

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._environment = environment
        self._stillness = Stillness(self.poll_s)

    def open(self) -> Tally:
        """The GPU's counter of energy, else its power. Raises SensorError where it has neither."""
        try:
            nvml = library()
        except NoNvml as cause:
            raise SensorError(str(cause)) from None
        try:
            gpu = gpu_of(nvml, self._environment)
            name = plain(nvml.nvmlDeviceGetName(gpu))
            try:
                first_mj = nvml.nvmlDeviceGetTotalEnergyConsumption(gpu)
            except (nvml.NVMLError_NotSupported, nvml.NVMLError_FunctionNotFound):
                nvml.nvmlDeviceGetPowerUsage(gpu)
                read_w = _reading(nvml, lambda: nvml.nvmlDeviceGetPowerUsage(gpu) / 1e3)
                return PowerTally(
                    read_w, f"NVML power, {name}", period_s=self.poll_s, stillness=self._stillness
                ).start()
        except nvml.NVMLError_NotSupported:
            raise SensorError(
                "the driver measures neither energy nor power of this GPU (NVML: NotSupported), as on a Jetson, whose "
                "board has sensors of its own, or in a MIG slice"
            ) from None
        except nvml.NVMLError as cause:
            raise SensorError(f"NVML: {cause}") from None
        except NoNvml as cause:
            raise SensorError(str(cause)) from None
        counter = Counter(_RANGE_UJ, first_mj * 1000, time.monotonic_ns(), _STUCK_S, name="NVML's energy counter")
        read_uj = _reading(nvml, lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(gpu) * 1000)
        return CounterTally([(counter, read_uj)], f"NVML energy counter, {name}")


def _reading(nvml: Any, read: Callable[[], Any]) -> Callable[[], Any]:
    """`read`, whose errors are dropouts: what lasts is then told from what does not by the gap."""

    def attempt() -> Any:
        try:
            return read()
        except nvml.NVMLError as cause:
            raise Dropout(f"NVML: {cause}") from None

    return attempt


def meter(profile: DeviceProfile) -> Nvml:
    """The meter of this machine's GPU; NVML needs nothing from the profile."""
    return Nvml()
