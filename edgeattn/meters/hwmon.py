"""Power of a board's rails, from sensor chips in Linux's hwmon: found by their labels, since hwmon's numbers move.

Formats: the kernel's Documentation/hwmon/sysfs-interface.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edgeattn.devices import EnergySource
from edgeattn.meters.base import Scope
from edgeattn.meters.faults import SensorError
from edgeattn.meters.power import PowerTally, Stillness
from edgeattn.meters.sampled import SampledMeter
from edgeattn.meters.sysfs import number, text
from edgeattn.plaintext import plain

_CLASS = "sys/class/hwmon"


@dataclass(frozen=True)
class Rail:
    """A channel of a sensor chip. watts: reads it; raises SensorError."""

    label: str
    watts: Callable[[], float]


@dataclass(frozen=True)
class Chip:
    """A kind of sensor chip. name: of its driver. rails: the channels in its hwmon folder."""

    name: str
    title: str
    rails: Callable[[Path], Iterator[Rail]]

    def folders(self, root: Path) -> list[Path]:
        """The hwmon folders of all such chips, each once."""
        bound = (root / f"sys/bus/i2c/drivers/{self.name}").glob("*/hwmon/hwmon*")
        listed = (each for each in (root / _CLASS).glob("hwmon*") if _name(each) == self.name)
        return sorted({folder.resolve() for folder in (*bound, *listed)})


class RailMeter(SampledMeter):
    """The sum of the rails that the device's profile names as its total."""

    def __init__(self, chip: Chip, energy: EnergySource, root: Path) -> None:
        self.name = chip.name
        self.scope: Scope = energy.scope or "partial"
        self._chip = chip
        self._total = energy.total
        self._root = root
        self._stillness: Stillness | None = None
        self._update_s = 0.0

    @property
    def period_s(self) -> float:
        """Seconds in which the chip converts all its channels, if that takes longer than `poll_s`."""
        return max(self.poll_s, self._update_s)

    def open(self) -> PowerTally:
        """A tally of the rails. Raises SensorError where one of them is not found."""
        folders = self._chip.folders(self._root)
        rails = self._rails(folders)
        self._update_s = max(map(_update_s, folders))
        self._stillness = self._stillness or Stillness(self.period_s)
        source = f"{self._chip.title}: {' + '.join(self._total)}"
        return PowerTally(
            lambda: sum(rail.watts() for rail in rails), source, period_s=self.period_s, stillness=self._stillness
        ).start()

    def _rails(self, folders: list[Path]) -> list[Rail]:
        if not self._total:
            raise SensorError("the device profile does not say which rails make up its total")
        if not folders:
            raise SensorError(
                f"no {self._chip.title} in /{_CLASS}: its driver is not loaded (sudo modprobe {self._chip.name}), or "
                "a container hides it (EDGEATTN_ROOT names a folder that has the machine's sys/)"
            )
        found: dict[str, Rail] = {}
        for rail in (rail for folder in folders for rail in self._chip.rails(folder)):
            if rail.label in self._total and rail.label in found:
                raise SensorError(f"two rails are called {rail.label}")
            found[rail.label] = rail
        for label in self._total:
            if label not in found:
                names = ", ".join(plain(name) for name in sorted(found)) or "none"
                raise SensorError(f"no rail {label} on the {self._chip.title}; it has {names}")
        return [found[label] for label in self._total]


def _name(folder: Path) -> str | None:
    try:
        return text(folder / "name")
    except SensorError:
        return None


def _update_s(folder: Path) -> float:
    """`update_interval` of the chip, in ms; 0 where the driver does not say it."""
    try:
        return min(max(number(folder / "update_interval") / 1e3, 0.0), 10.0)
    except SensorError:
        return 0.0
