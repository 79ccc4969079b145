"""TI's INA3221, three channels: the power rails of Jetson modules.

Format: the kernel's Documentation/hwmon/ina3221. It has no file for power: mV x mA. in4 to in6 are voltages over the
shunts and in7 is their sum, so only channels 1 to 3 are read; a channel that is not connected is labelled NC.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from edgeattn.devices import DeviceProfile
from edgeattn.devices.root import system_root
from edgeattn.meters.faults import SensorError
from edgeattn.meters.hwmon import Chip, Rail, RailMeter
from edgeattn.meters.sysfs import number, text

_CHANNELS = (1, 2, 3)
_UNCONNECTED = "NC"


def rails(folder: Path) -> Iterator[Rail]:
    """The labelled channels of a chip."""
    for channel in _CHANNELS:
        try:
            label = text(folder / f"in{channel}_label")
        except SensorError:
            continue
        if label != _UNCONNECTED:
            yield Rail(label, partial(_watts, folder, channel, label))


def _watts(folder: Path, channel: int, label: str) -> float:
    millivolts, milliamperes = (number(folder / f"{kind}{channel}_input") for kind in ("in", "curr"))
    if millivolts < 0 or milliamperes < 0:
        raise SensorError(f"{label} reads {millivolts} mV and {milliamperes} mA")
    return millivolts * milliamperes / 1e6


INA3221 = Chip("ina3221", "INA3221", rails)


def meter(profile: DeviceProfile) -> RailMeter:
    """The meter of the rails that the profile names."""
    return RailMeter(INA3221, profile.energy, system_root())
