"""Energy meters, one file each."""

from __future__ import annotations

from collections.abc import Callable

from edgeattn.devices import DeviceProfile
from edgeattn.meters.base import Energy, Meter, Scope, Window
from edgeattn.registry import Registry

__all__ = ["METERS", "Energy", "Meter", "Scope", "Window", "choose"]

# In order of trust. Each entry makes its meter from the profile of the device it runs on.
METERS = Registry[Callable[[DeviceProfile], Meter]](
    "energy meter",
    {
        "rapl": "edgeattn.meters.rapl:meter",
        "model": "edgeattn.meters.model:meter",
    },
)


def choose(profile: DeviceProfile) -> Meter | None:
    """The most trusted meter that can measure this device here: its sensor, else the estimate, else None.

    A profile whose energy source is not RAPL never gets RAPL: that would be some other machine's packages.
    """
    for name in METERS:
        if name not in (profile.energy.kind, "model"):
            continue
        meter = METERS[name](profile)
        if meter.available() is None:
            return meter
    return None
