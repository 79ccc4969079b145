"""Momentary clocks, and the highest ones that may be taken now, from Linux's cpufreq and devfreq.

Formats: the kernel's Documentation/admin-guide/pm/cpufreq and Documentation/ABI/testing/sysfs-class-devfreq.
"""

from __future__ import annotations

import re
from pathlib import Path

from edgeattn.devices.cgroup import read, read_int

GPU = "the GPU"
_CPU = "sys/devices/system/cpu"
# Folders of GPUs in devfreq: 17000000.gpu on Orin (.ga10b in JetPack 5, .gv11b on Xavier), gpu-gpc-0 on Thor.
_GPU_FOLDER = re.compile(r"\.gpu$|\.g[apv]\d{2}b$|^gpu-gpc-0$")


class Clocks:
    """The clocks of the machine below `root`."""

    def __init__(self, root: Path) -> None:
        self._cpus = sorted((root / _CPU).glob("cpu[0-9]*/cpufreq"))
        self._gpus = [folder for folder in (root / "sys/class/devfreq").glob("*") if _GPU_FOLDER.search(folder.name)]

    def governor(self) -> str | None:
        """Of the processor: "performance", or all of them where cores have different ones."""
        names = {name for folder in self._cpus if (name := read(folder / "scaling_governor"))}
        return ", ".join(sorted(names)) or None

    def cpu_mhz(self) -> int | None:
        """Of the fastest core now."""
        return max(_mhz(self._cpus, "scaling_cur_freq", 1e3).values(), default=None)

    def limits_mhz(self) -> dict[str, int]:
        """Core or GPU -> the highest clock that it may take now: heat lowers it, and so does a power mode."""
        cores = _mhz(self._cpus, "scaling_max_freq", 1e3)
        gpus = _mhz(self._gpus, "max_freq", 1e6)
        return cores | ({GPU: max(gpus.values())} if gpus else {})

    def gpu_mhz(self) -> int | None:
        """Of a GPU that shares the processor's memory, now."""
        return max(_mhz(self._gpus, "cur_freq", 1e6).values(), default=None)


def _mhz(folders: list[Path], name: str, per_mhz: float) -> dict[str, int]:
    """Core or device -> MHz; what reads 0, less, or no number is absent."""
    found = {}
    for folder in folders:
        value = read_int(folder / name)
        if value is not None and value > 0:
            found[folder.parent.name] = round(value / per_mhz)
    return found
