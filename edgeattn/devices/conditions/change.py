"""What happened between two readings that makes timings in between wrong, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgeattn.devices.conditions.now import Conditions
from edgeattn.devices.conditions.thermal import Zone

_NEAR_C = 15.0  # to the limit of a zone: then heat may be the reason


def disturbance(before: Conditions, after: Conditions, during: Sequence[str] = ()) -> str | None:
    """The first that is found of: another power mode or governor, throttling, over-current, another limit of a clock.

    during: what slowed the machine in between, in words. What is unknown in one of the readings is no change.
    """
    for name, was, now in (
        ("power mode", before.power_mode, after.power_mode),
        ("governor", before.governor, after.governor),
    ):
        if was is not None and now is not None and was != now:
            return f"the {name} changed from {was} to {now}"
    if slowed := list(dict.fromkeys((*before.throttled, *during, *after.throttled))):
        return f"throttling: {', '.join(slowed)}{_hottest(after.zones)}"
    for kind, earlier, later in (
        ("throttling", before.heat, after.heat),
        ("over-current", before.over_current, after.over_current),
    ):
        if moved := _moved(earlier, later):
            return f"{kind}: {moved}{_hottest(after.zones)}"
    for name, limit in before.limits_mhz.items():
        if (now_mhz := after.limits_mhz.get(name, limit)) != limit:
            return f"the highest clock of {name} changed from {limit} to {now_mhz} MHz{_hottest(after.zones)}"
    return None


def _moved(before: Mapping[str, int], after: Mapping[str, int]) -> str | None:
    """Counters that moved. One that fell has started anew, which is no event."""
    moved = {name: after[name] - count for name, count in before.items() if after.get(name, count) > count}
    return ", ".join(f"{name}, {count} x" for name, count in moved.items()) or None


def _hottest(zones: Sequence[Zone]) -> str:
    """ "; GPU at 91 C, throttles at 95 C": of the zone that is closest to its limit, where one is close."""
    near = [(zone.throttle_c - zone.celsius, str(zone)) for zone in zones if zone.throttle_c is not None]
    distance, zone = min(near, default=(None, ""))
    return f"; {zone}" if distance is not None and distance < _NEAR_C else ""
