"""The conditions of this machine now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeattn.devices.board import board_facts
from edgeattn.devices.conditions import raspberry_pi
from edgeattn.devices.conditions.clocks import GPU, Clocks
from edgeattn.devices.conditions.events import Events
from edgeattn.devices.conditions.nvidia_gpu import NvidiaGpu
from edgeattn.devices.conditions.thermal import Thermal, Zone
from edgeattn.devices.root import system_root


@dataclass(frozen=True)
class Conditions:
    """Conditions at one moment. Unknown is None or absent, never 0.

    power_mode: the board's. governor: of the processor's clocks. limits_mhz: core or GPU -> the highest clock that it
    may take now. throttled: what slows the machine now, in words. heat, over_current: in words -> how often it has
    happened since the machine started.
    """

    power_mode: str | None
    governor: str | None
    cpu_mhz: int | None
    gpu_mhz: int | None
    limits_mhz: Mapping[str, int]
    zones: tuple[Zone, ...]
    throttled: tuple[str, ...]
    heat: Mapping[str, int]
    over_current: Mapping[str, int]

    def facts(self) -> dict[str, Any]:
        """As JSON, for a document."""
        return {
            "power_mode": self.power_mode,
            "governor": self.governor,
            "cpu_mhz": self.cpu_mhz,
            "gpu_mhz": self.gpu_mhz,
            "cpu_limit_mhz": max((mhz for name, mhz in self.limits_mhz.items() if name != GPU), default=None),
            "gpu_limit_mhz": self.limits_mhz.get(GPU),
            "temperatures_c": {zone.name: zone.celsius for zone in self.zones},
            "throttles_at_c": {zone.name: zone.throttle_c for zone in self.zones if zone.throttle_c is not None},
            "throttled": list(self.throttled),
            "heat": dict(self.heat),
            "over_current": dict(self.over_current),
        }


class Probe:
    """Reads the conditions of the machine below `root`; `system_root()` when None.

    guarded: whether it is a board that says from which temperatures on its chip is slowed.
    """

    def __init__(self, root: Path | None = None) -> None:
        self._root = root or system_root()
        self._clocks = Clocks(self._root)
        self._thermal = Thermal(self._root)
        self._events = Events(self._root)
        self._firmware = raspberry_pi.Firmware(self._root)
        self._gpu = NvidiaGpu(self._root)
        self.guarded = self._thermal.guarded

    def read(self) -> Conditions:
        """The conditions now."""
        bits = self._firmware.bits()
        return Conditions(
            power_mode=board_facts(self._root).power_mode,
            governor=self._clocks.governor(),
            cpu_mhz=self._clocks.cpu_mhz(),
            gpu_mhz=self._clocks.gpu_mhz() or self._gpu.mhz(),
            limits_mhz=self._clocks.limits_mhz(),
            zones=self.zones(),
            throttled=self._throttled(bits),
            heat=self._events.heat() | raspberry_pi.since_start(bits),
            over_current=self._events.over_current(),
        )

    def zones(self) -> tuple[Zone, ...]:
        """The temperatures now."""
        gpu = self._gpu.zone()
        return (*self._thermal.zones(), *([] if gpu is None else [gpu]))

    def throttled(self) -> tuple[str, ...]:
        """What slows the machine now, in words: quick enough to be asked right after a load."""
        return self._throttled(self._firmware.bits())

    def _throttled(self, bits: int | None) -> tuple[str, ...]:
        found = (*self._thermal.slowing(), *self._events.alarms(), *raspberry_pi.now(bits), *self._gpu.slowing())
        return tuple(dict.fromkeys(found))
