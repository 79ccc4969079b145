"""TI's INA238, one channel with a power register: the input of Jetson Thor.

Format: the kernel's Documentation/hwmon/ina238; power1_input is in microwatts.
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


def rails(folder: Path) -> Iterator[Rail]:
    """The chip's channel, by the label of the chip or of its voltage."""
    for file in ("label", "in1_label"):
        try:
            label = text(folder / file)
        except SensorError:
            continue
        yield Rail(label, partial(_watts, folder, label))
        return


def _watts(folder: Path, label: str) -> float:
    microwatts = number(folder / "power1_input")
    if microwatts < 0:
        raise SensorError(f"{label} reads {microwatts} uW")
    return microwatts / 1e6


INA238 = Chip("ina238", "INA238", rails)


def meter(profile: DeviceProfile) -> RailMeter:
    """The meter of the rail that the profile names."""
    return RailMeter(INA238, profile.energy, system_root())
