"""Joules of the CPU packages, from the RAPL counters of Intel and AMD processors in Linux's powercap.

Only zones named `package-*` are added up: `core` and `uncore` are parts of a package, `psys` contains all of them.
See https://docs.kernel.org/power/powercap/powercap.html.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

from edgeattn.devices import DeviceProfile
from edgeattn.devices.root import system_root
from edgeattn.meters.base import Scope
from edgeattn.meters.counter import Counter, CounterTally
from edgeattn.meters.faults import SensorError
from edgeattn.meters.sampled import SampledMeter
from edgeattn.meters.sysfs import number, text

_CLOSED = (
    "only root may (CVE-2020-8694). Until the next start everybody may after "
    "`sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj`; docs/energy.md has a udev rule for good"
)


class Rapl(SampledMeter):
    """The energy of all CPU packages of this machine, for all its processes."""

    name = "rapl"
    scope: Scope = "package"

    def __init__(self, root: Path = Path("/"), *, period_s: float = 0.05, stuck_after_s: float = 1.0) -> None:
        self._folder = root / "sys/class/powercap"
        self.poll_s = period_s
        self._stuck_after_s = stuck_after_s

    def open(self) -> CounterTally:
        """The counters of all packages. Raises SensorError where there are none, or only root may read them."""
        zones = [zone for zone in sorted(self._folder.glob("intel-rapl:*")) if _is_package(zone)]
        if not zones:
            raise SensorError("no RAPL package zones (another processor, a virtual machine or a container)")
        counters = [(self._counter(zone), partial(_energy_uj, zone)) for zone in zones]
        return CounterTally(counters, f"RAPL, {len(zones)} package(s)")

    def _counter(self, zone: Path) -> Counter:
        range_uj = number(zone / "max_energy_range_uj")
        return Counter(range_uj, _energy_uj(zone), time.monotonic_ns(), self._stuck_after_s)


def _is_package(zone: Path) -> bool:
    return text(zone / "name").startswith("package")


def _energy_uj(zone: Path) -> int:
    return number(zone / "energy_uj", closed=_CLOSED)


def meter(profile: DeviceProfile) -> Rapl:
    """The meter of this machine; RAPL needs nothing from the profile."""
    return Rapl(system_root())
