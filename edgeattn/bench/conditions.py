"""Watches the machine while pairs are timed: which of them do not count, and when a whole session does not."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from edgeattn.devices.conditions import Probe, Zone, disturbance
from edgeattn.plaintext import plain

LOG = logging.getLogger("edgeattn")

# Of all pairs of a session: with more of them discarded, the machine is in no state to be measured.
MOST_DISCARDED = 0.2
APART_C = 2.0  # between the temperatures at which the legs of a pair start
BELOW_C = 10.0  # the throttle point, at least, when a leg starts
COOL_S = 120.0  # that a leg waits for this at most
_STEP_S = 1.0
_SAID_AFTER_S = 3.0
_SETTLED_C = 0.5  # in a step: what cools by more was hotter a moment ago, and will be colder when the next leg starts


@dataclass(frozen=True)
class Discarded:
    """A pair that does not count. pair: its number, from 1; the pair that replaced it has the next one."""

    pair: int
    reason: str


@dataclass
class Watch:
    """Reads the conditions around pairs, and lets a board cool before a leg starts.

    A pair is `begin`, then `leg_starts` and `leg_ran` for each of its legs, then `end`. sleep: waits for seconds.
    start: the conditions when the watch was made, before the session loads the machine.
    """

    probe: Probe = field(default_factory=Probe)
    sleep: Callable[[float], None] = time.sleep
    discarded: list[Discarded] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.start = self.probe.read()
        self._pairs = 0
        self._before = self.start
        self._during: list[str] = []
        self._uneven: str | None = None
        self._started: dict[int, dict[str, Zone]] = {}

    def begin(self) -> None:
        """A pair begins."""
        self._pairs += 1
        self._before = self.probe.read()
        self._during, self._uneven, self._started = [], None, {}

    def leg_starts(self, place: int) -> None:
        """A leg starts in a case: wait until the board is as cool as it was for the first leg, and cool enough.

        place: of the case. A board that does not say at which temperatures it is slowed does not wait.
        """
        if not self.probe.guarded:
            return
        waited_s, last = 0.0, None
        while self._uneven is None:
            zones = self._zones()
            why = self._too_hot(zones, self._started.get(place), last)
            if why is None:
                break
            if waited_s >= COOL_S:
                self._uneven = f"after {COOL_S:.0f} s of cooling, {why}"
            elif waited_s == _SAID_AFTER_S:
                LOG.info("waiting for the board to cool: %s", plain(why))
            self.sleep(_STEP_S)
            waited_s, last = waited_s + _STEP_S, zones
        found = self._started.setdefault(place, self._zones())
        for name, zone in self._zones().items():
            if name in found and found[name].celsius - zone.celsius > APART_C:
                self._uneven = self._uneven or _apart(zone, found[name])

    def leg_ran(self) -> None:
        """A leg has just run: what slowed it may still be seen."""
        self._during += self.probe.throttled()

    def end(self) -> str | None:
        """The pair has ended. Returns why it does not count, which is also said on stderr."""
        why = disturbance(self._before, self.probe.read(), self._during) or self._uneven
        if why is not None:
            self.discard(why)
        return why

    def discard(self, why: str) -> None:
        """The last pair does not count."""
        LOG.warning("pair %d is discarded: %s", self._pairs, plain(why))
        self.discarded.append(Discarded(self._pairs, why))

    def invalid(self, wanted: int) -> str | None:
        """Why a session of `wanted` pairs that count says nothing; None while few enough were discarded."""
        return too_many([each.reason for each in self.discarded], self._pairs, wanted)

    def facts(self, invalid: str | None) -> dict[str, Any]:
        """The conditions of a document, with those now as its end."""
        return {
            "start": self.start.facts(),
            "end": self.probe.read().facts(),
            "discarded": [asdict(each) for each in self.discarded],
            "invalid": invalid,
        }

    def _zones(self) -> dict[str, Zone]:
        """Those that have a throttle point."""
        return {zone.name: zone for zone in self.probe.zones() if zone.throttle_c is not None}

    def _too_hot(
        self, zones: dict[str, Zone], first: dict[str, Zone] | None, last: dict[str, Zone] | None
    ) -> str | None:
        """Why a leg does not start yet. first: when the first leg started; last: a step ago."""
        for name, zone in zones.items():
            if zone.throttle_c is not None and zone.celsius > zone.throttle_c - BELOW_C:
                return str(zone)
            if first is not None and name in first and zone.celsius - first[name].celsius > APART_C:
                return _apart(zone, first[name])
            if first is None and (last is None or (name in last and last[name].celsius - zone.celsius > _SETTLED_C)):
                return f"{zone.title} at {zone.celsius:.0f} C is still cooling"
        return None


def too_many(reasons: list[str], taken: int, wanted: int) -> str | None:
    """Why too many pairs were discarded of those `taken`, for a session of `wanted` pairs that count; else None."""
    if len(reasons) <= wanted * MOST_DISCARDED / (1 - MOST_DISCARDED):
        return None
    worst = max(reasons, key=reasons.count)
    return f"{len(reasons)} of {taken} pairs were discarded: {worst}"


def invalid_because(document: Mapping[str, Any]) -> str | None:
    """Why the session of a bench document says nothing; None where it is valid."""
    conditions = document.get("conditions")  # older documents have none, and a device may send anything
    found = conditions.get("invalid") if isinstance(conditions, Mapping) else None
    return None if found is None else str(found)


def _apart(zone: Zone, first: Zone) -> str:
    return f"the legs start too far apart: {zone.title} at {zone.celsius:.0f} C, at {first.celsius:.0f} C for the first"
