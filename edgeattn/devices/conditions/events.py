"""Counters of what slowed the machine since it started, and alarms: heat on x86, over-current on Jetson.

x86: the kernel's Documentation/ABI/testing/sysfs-devices-system-cpu (thermal_throttle). Jetson Orin and Thor: NVIDIA's
developer guide, "Over-current events", and its driver tegra23x-oc-event, whose chip in hwmon is soctherm_oc. INA3221:
the kernel's Documentation/hwmon/ina3221.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from edgeattn.devices.board import shown
from edgeattn.devices.cgroup import read, read_int

_OVER_CURRENT = {"1": "under-voltage", "2": "average over-current", "3": "peak over-current"}
_HEAT = {"core_throttle_count": "a core throttled by heat", "package_throttle_count": "the CPU throttled by heat"}


class Events:
    """The counters and alarms of the machine below `root`."""

    def __init__(self, root: Path) -> None:
        cpus = root / "sys/devices/system/cpu"
        self._heat = {title: sorted(cpus.glob(f"cpu[0-9]*/thermal_throttle/{name}")) for name, title in _HEAT.items()}
        hwmon = sorted((root / "sys/class/hwmon").glob("hwmon*"))
        hwmon += sorted((root / "sys/bus/i2c/drivers/ina3221").glob("*/hwmon/hwmon*"))
        chips = {folder.resolve(): read(folder / "name") for folder in hwmon}
        self._over_current = {
            f"{_OVER_CURRENT.get(file.name[2:-10], 'over-current')} (OC{file.name[2:-10]})": file
            for folder, chip in chips.items()
            if chip == "soctherm_oc"
            for file in sorted(folder.glob("oc[0-9]_event_cnt"))
        }
        self._alarms = {
            file: shown(read(folder / f"in{file.name[4]}_label")) or file.name
            for folder, chip in chips.items()
            if chip == "ina3221"
            for file in sorted(folder.glob("curr[123]_crit_alarm"))
        }

    def heat(self) -> dict[str, int]:
        """In words -> how often, summed over the logical cores."""
        summed = {title: _sum(files) for title, files in self._heat.items()}
        return {title: count for title, count in summed.items() if count is not None}

    def over_current(self) -> dict[str, int]:
        """In words -> how often."""
        counts = {title: read_int(file) for title, file in self._over_current.items()}
        return {title: count for title, count in counts.items() if count is not None and count >= 0}

    def alarms(self) -> list[str]:
        """Rails whose current is above their critical limit now, in words."""
        return [f"over-current alarm of {rail}" for file, rail in self._alarms.items() if read_int(file) == 1]


def _sum(files: Iterable[Path]) -> int | None:
    """Of all counters; None where there is none, or one of them is not known."""
    counts = [read_int(file) for file in files]
    known = [count for count in counts if count is not None and count >= 0]
    return sum(known) if known and len(known) == len(counts) else None
