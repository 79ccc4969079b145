"""Temperatures with the points at which the kernel slows the machine, and what is slowed by heat now.

Formats: the kernel's Documentation/driver-api/thermal/sysfs-api. A zone that is switched off, as on Jetson, answers
with an error or with -256 degrees: it is absent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from edgeattn.devices.board import shown
from edgeattn.devices.cgroup import read, read_int

_CLASS = "sys/class/thermal"
_COLDEST_C, _HOTTEST_C = -55.0, 200.0  # of a sensor that works
# Cooling devices that slow the processor or the GPU, or say so (NVIDIA's alerts); fans and screens do neither.
_SLOWS = re.compile(r"(thermal-)?(cpufreq|devfreq)-.+|[a-z0-9_]+-throttle-alert|Processor")
_TITLES = {"x86_pkg_temp": "CPU package", "tj": "junction", "cpu": "CPU", "gpu": "GPU"}


@dataclass(frozen=True)
class Zone:
    """A temperature. throttle_c: from it on, the kernel slows what is hot. critical_c: it switches the machine off."""

    name: str
    celsius: float
    throttle_c: float | None = None
    critical_c: float | None = None

    @property
    def title(self) -> str:
        """For people: "GPU" for gpu-thermal."""
        name = re.sub(r"[-_]therm(al)?$", "", self.name)
        return _TITLES.get(name, name)

    def __str__(self) -> str:
        """ "GPU at 91 C, throttles at 95 C"."""
        limit = "" if self.throttle_c is None else f", throttles at {self.throttle_c:.0f} C"
        return f"{self.title} at {self.celsius:.0f} C{limit}"


class Thermal:
    """The thermal zones and the cooling devices of the machine below `root`.

    guarded: whether its trip points are those of the chip, as a board's device tree has them. On a PC they are its
    maker's choice, often of the case: there, no zone has a throttle point.
    """

    def __init__(self, root: Path) -> None:
        self.guarded = (root / "sys/firmware/devicetree/base").is_dir() or (root / "proc/device-tree").is_dir()
        folders = sorted((root / _CLASS).glob("thermal_zone[0-9]*"), key=_number)
        self._zones = [(folder, name, *_trips(folder)) for folder, name in _named(folders).items()]
        self._cooling = {
            folder: name
            for folder, name in _named(sorted((root / _CLASS).glob("cooling_device[0-9]*"), key=_number)).items()
            if _SLOWS.fullmatch(name)
        }

    def zones(self) -> tuple[Zone, ...]:
        """The temperatures now; a sensor without a credible one is absent."""
        found = []
        for folder, name, throttle_c, critical_c in self._zones:
            celsius = _celsius(folder / "temp")
            if celsius is not None:
                found.append(Zone(name, celsius, throttle_c if self.guarded else None, critical_c))
        return tuple(found)

    def slowing(self) -> list[str]:
        """What slows the machine because of heat now, in words."""
        return [f"slowed by heat ({name})" for folder, name in self._cooling.items() if _state(folder) > 0]


def _named(folders: list[Path]) -> dict[Path, str]:
    """Folder -> its type; the second of one type has a number."""
    found: dict[Path, str] = {}
    for folder in folders:
        name = shown(read(folder / "type")) or folder.name
        count = sum(other.partition(" ")[0] == name for other in found.values())
        found[folder] = f"{name} {count + 1}" if count else name
    return found


def _trips(folder: Path) -> tuple[float | None, float | None]:
    """The lowest temperatures at which the kernel slows the machine ("passive", else "hot") and switches it off."""
    lowest: dict[str, float] = {}
    for file in folder.glob("trip_point_*_type"):
        kind = read(file) or ""
        celsius = _celsius(folder / file.name.replace("_type", "_temp"))
        if celsius is not None and celsius > 0:  # 0 and less: not set
            lowest[kind] = min(celsius, lowest.get(kind, celsius))
    return lowest.get("passive", lowest.get("hot")), lowest.get("critical")


def _celsius(file: Path) -> float | None:
    """Of millidegrees; None for what no sensor that works would say, such as exactly 0."""
    value = read_int(file)
    if value is None or value == 0 or not _COLDEST_C <= value / 1000 <= _HOTTEST_C:
        return None
    return value / 1000


def _state(folder: Path) -> int:
    return read_int(folder / "cur_state") or 0


def _number(folder: Path) -> int:
    return int(re.sub(r"\D", "", folder.name) or 0)
