"""Energy meters, one file each."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from edgeattn.devices import DeviceProfile
from edgeattn.meters.base import WALL_VARIABLE, Energy, Meter, Scope, Window, full_window_s, slowness
from edgeattn.plaintext import plain
from edgeattn.registry import Registry

__all__ = [
    "METERS",
    "Choice",
    "Energy",
    "Meter",
    "Scope",
    "Window",
    "choose",
    "choose_with_reasons",
    "full_window_s",
    "names_for",
    "slowness",
]
LOG = logging.getLogger("edgeattn")

# The most trusted first. Each entry makes its meter from the device's profile.
METERS = Registry[Callable[[DeviceProfile], Meter]](
    "energy meter",
    {
        "wall": "edgeattn.meters.wall:meter",
        "ina238": "edgeattn.meters.ina238:meter",
        "ina3221": "edgeattn.meters.ina3221:meter",
        "nvml": "edgeattn.meters.nvml:meter",
        "pi_pmic": "edgeattn.meters.pi_pmic:meter",
        "rapl": "edgeattn.meters.rapl:meter",
        "model": "edgeattn.meters.model:meter",
    },
)
# Of every device: what its user has attached, and what needs no sensor.
_ANYWHERE = ("wall", "model")


@dataclass(frozen=True)
class Choice:
    """The meter that is used, and why those that would be trusted more are not: name -> reason."""

    meter: Meter | None
    passed_over: dict[str, str]


def names_for(profile: DeviceProfile) -> Iterator[str]:
    """The meters of a device, the most trusted first: a profile whose energy source is not RAPL never gets RAPL."""
    return (name for name in METERS if name == profile.energy.kind or name in _ANYWHERE)


def choose_with_reasons(profile: DeviceProfile) -> Choice:
    """The most trusted meter that works here: the user's, the device's sensor, the estimate; else None.

    Warns where the user's own is set up and does not work: energies of another scope take its place.
    """
    passed_over: dict[str, str] = {}
    for name in names_for(profile):
        meter = METERS[name](profile)
        why = meter.available()
        if why is None:
            return Choice(meter, passed_over)
        if name != "wall":
            passed_over[name] = why
        elif os.environ.get(WALL_VARIABLE):
            passed_over[name] = why
            LOG.warning("the wall meter is not used: %s", plain(why))
    return Choice(None, passed_over)


def choose(profile: DeviceProfile) -> Meter | None:
    """The most trusted meter that works here, else None."""
    return choose_with_reasons(profile).meter
