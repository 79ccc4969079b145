"""Joules of the CPU packages, from the RAPL counters of Intel and AMD processors in Linux's powercap.

Only zones named `package-*` are added up: `core` and `uncore` are parts of a package, `psys` contains all of them.
See https://docs.kernel.org/power/powercap/powercap.html.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from edgeattn.devices import DeviceProfile
from edgeattn.meters.base import Energy, Window

# More than any package draws. A counter whose fall would need more power than this was reset, not wrapped.
_CREDIBLE_WATTS = 5000.0


class SensorError(Exception):
    """A reading that is impossible or missing."""


@dataclass
class Counter:
    """Adds up a counter of microjoules that wraps to 0 after `range_uj`.

    It must be read at least once per wrap: a typical range of 65 kJ lasts less than four minutes at 300 W.
    """

    range_uj: int
    last_uj: int
    last_ns: int
    stuck_after_s: float = 1.0
    total_uj: int = 0
    _changed_ns: int = field(init=False)

    def __post_init__(self) -> None:
        self._check(self.last_uj)
        self._changed_ns = self.last_ns

    def add(self, value_uj: int, now_ns: int) -> None:
        """Adds a reading at a monotonic time. Raises SensorError for an impossible one."""
        self._check(value_uj)
        step = value_uj - self.last_uj
        if step < 0:
            step += self.range_uj
            if step > _CREDIBLE_WATTS * (now_ns - self.last_ns) / 1e3:  # W x ns / 1e3 = uJ
                raise SensorError(f"energy_uj fell from {self.last_uj} to {value_uj} without having wrapped")
        if step:
            self._changed_ns = now_ns
        elif now_ns - self._changed_ns >= self.stuck_after_s * 1e9:
            raise SensorError(f"energy_uj is stuck at {value_uj}")
        self.total_uj += step
        self.last_uj, self.last_ns = value_uj, now_ns

    def _check(self, value_uj: int) -> None:
        if not 0 <= value_uj <= self.range_uj:
            raise SensorError(f"energy_uj is {value_uj}, outside 0 to {self.range_uj}")


class Rapl:
    """The energy of all CPU packages of this machine, for all its processes."""

    name = "rapl"

    def __init__(self, root: Path = Path("/"), *, period_s: float = 0.05, stuck_after_s: float = 1.0) -> None:
        self._folder = root / "sys/class/powercap"
        self._period_s = period_s
        self._stuck_after_s = stuck_after_s

    def available(self) -> str | None:
        """None, or the reason why the counters cannot be read."""
        try:
            zones = self._zones()
            for zone in zones:
                self._counter(zone)
        except SensorError as cause:
            return str(cause)
        return None if zones else "no RAPL package zones (another processor, a virtual machine or a container)"

    @contextmanager
    def window(self, pids: Sequence[int] | None = None) -> Iterator[Window]:
        """Measures while the context is open; a thread also reads the counters, so that no wrap is missed."""
        window = Window()
        try:
            counters = {zone: self._counter(zone) for zone in self._zones()}
        except SensorError as cause:
            window.reason = str(cause)
            yield window
            return
        start_ns = time.monotonic_ns()
        failures: list[SensorError] = []
        done = threading.Event()

        def sample() -> None:
            for zone, counter in counters.items():
                counter.add(_read(zone / "energy_uj"), time.monotonic_ns())

        def sample_until_done() -> None:
            try:
                while not done.wait(self._period_s):
                    sample()
            except SensorError as cause:
                failures.append(cause)

        thread = threading.Thread(target=sample_until_done, name="edgeattn-rapl", daemon=True)
        thread.start()
        try:
            yield window
        finally:
            done.set()
            thread.join()
        try:
            if failures:
                raise failures[0]
            sample()
            window.energy = self._energy(list(counters.values()), (time.monotonic_ns() - start_ns) / 1e9)
        except SensorError as cause:
            window.reason = str(cause)

    def _energy(self, counters: list[Counter], seconds: float) -> Energy:
        if not counters:
            raise SensorError("no RAPL package zones")
        if not all(counter.total_uj for counter in counters):
            raise SensorError("energy_uj did not move in the window")
        joules = sum(counter.total_uj for counter in counters) / 1e6
        return Energy(joules=joules, seconds=seconds, scope="package", source=f"RAPL, {len(counters)} package(s)")

    def _zones(self) -> list[Path]:
        return [
            zone for zone in sorted(self._folder.glob("intel-rapl:*")) if _text(zone / "name").startswith("package")
        ]

    def _counter(self, zone: Path) -> Counter:
        range_uj = _read(zone / "max_energy_range_uj")
        value_uj = _read(zone / "energy_uj")
        return Counter(range_uj, value_uj, time.monotonic_ns(), self._stuck_after_s)


def _text(path: Path) -> str:
    try:
        return path.read_text("ascii", errors="replace").strip()
    except PermissionError:
        raise SensorError(f"{path.name} is readable by root only (CVE-2020-8694)") from None
    except OSError as cause:
        raise SensorError(f"{path.name} cannot be read: {cause.strerror}") from None


def _read(path: Path) -> int:
    text = _text(path)
    try:
        return int(text)
    except ValueError:
        raise SensorError(f"{path.name} is {text[:40]!r}, not a number") from None


def meter(profile: DeviceProfile) -> Rapl:
    """The meter of this machine; RAPL needs nothing from the profile."""
    return Rapl()
