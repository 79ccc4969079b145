"""Energy meters, one file each."""

from __future__ import annotations

from collections.abc import Callable

from edgeattn.devices import DeviceProfile
from edgeattn.meters.base import Energy, Meter, Scope, Window
from edgeattn.registry import Registry

__all__ = ["METERS", "Energy", "Meter", "Scope", "Window", "choose"]

# The most trusted first. Each entry makes its meter from the device's profile.
METERS = Registry[Callable[[DeviceProfile], Meter]](
    "energy meter",
    {
        "rapl": "edgeattn.meters.rapl:meter",
        "model": "edgeattn.meters.model:meter",
    },
)


def choose(profile: DeviceProfile) -> Meter | None:
    """The most trusted meter that works here: the device's sensor, else the estimate, else None.

    A profile whose energy source is not RAPL never gets RAPL.
    """
    for name in METERS:
        if name not in (profile.energy.kind, "model"):
            continue
        meter = METERS[name](profile)
        if meter.available() is None:
            return meter
    return None
