"""Joules of an NVIDIA GPU, from NVML through NVIDIA's own Python package (nvidia-ml-py, module `pynvml`).

The counter of millijoules since the driver was loaded is taken where the GPU has one (Volta and later), else its
power is sampled. A Jetson's NVML starts and then answers NotSupported to both.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from edgeattn.devices import DeviceProfile
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
        nvml = _library()
        try:
            gpu = self._gpu(nvml)
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
        counter = Counter(_RANGE_UJ, first_mj * 1000, time.monotonic_ns(), _STUCK_S, name="NVML's energy counter")
        read_uj = _reading(nvml, lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(gpu) * 1000)
        return CounterTally([(counter, read_uj)], f"NVML energy counter, {name}")

    def _gpu(self, nvml: Any) -> Any:
        """The GPU's handle."""
        visible = self._environment.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
        count = nvml.nvmlDeviceGetCount()
        if visible.startswith(("GPU-", "MIG-")):
            return nvml.nvmlDeviceGetHandleByUUID(visible)
        if count == 1:
            return nvml.nvmlDeviceGetHandleByIndex(0)
        # CUDA counts the fastest GPU first, NVML by bus, unless CUDA is told to do so too.
        if visible.isdecimal() and self._environment.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID":
            return nvml.nvmlDeviceGetHandleByIndex(int(visible))
        raise SensorError(
            f"{count} GPUs, and it is not known which one CUDA takes: name it by its UUID in CUDA_VISIBLE_DEVICES "
            "(nvidia-smi -L lists them)"
        )


def _library() -> Any:
    """`pynvml`, initialised. Raises SensorError where the package or the driver is missing."""
    try:
        import pynvml
    except ImportError:
        raise SensorError("NVML's Python package is missing: pip install 'edgeattn[nvml]'") from None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError_LibraryNotFound:
        raise SensorError(
            "no NVIDIA driver here: libnvidia-ml.so.1 is not found (a container sees it with --gpus all)"
        ) from None
    except pynvml.NVMLError as cause:
        raise SensorError(f"NVML: {cause}") from None
    return pynvml


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
