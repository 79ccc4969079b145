"""Joules from counters of energy, which wrap or count since the driver was loaded."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from edgeattn.meters.faults import Dropout, SensorError
from edgeattn.meters.power import CREDIBLE_WATTS


@dataclass
class Counter:
    """Adds up a counter of microjoules that wraps to 0 after `range_uj`; name: for messages.

    It must be read at least once per wrap: a typical range of 65 kJ lasts less than four minutes at 300 W.
    """

    range_uj: int
    last_uj: int
    last_ns: int
    stuck_after_s: float = 1.0
    total_uj: int = 0
    name: str = "energy_uj"
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
            # A counter whose fall would need more power than any machine draws was reset, not wrapped.
            if step > CREDIBLE_WATTS * (now_ns - self.last_ns) / 1e3:  # W x ns / 1e3 = uJ
                raise SensorError(f"{self.name} fell from {self.last_uj} to {value_uj} without having wrapped")
        if step:
            self._changed_ns = now_ns
        elif now_ns - self._changed_ns >= self.stuck_after_s * 1e9:
            raise SensorError(f"{self.name} is stuck at {value_uj}")
        self.total_uj += step
        self.last_uj, self.last_ns = value_uj, now_ns

    def _check(self, value_uj: int) -> None:
        if not 0 <= value_uj <= self.range_uj:
            raise SensorError(f"{self.name} is {value_uj}, outside 0 to {self.range_uj}")


class CounterTally:
    """The sum of counters, each with the function that reads it."""

    def __init__(self, counters: Sequence[tuple[Counter, Callable[[], int]]], source: str) -> None:
        self.source = source
        self._counters = counters
        self._dropout: Dropout | None = None

    def sample(self) -> None:
        """Reads every counter once. A dropout is noted: the next reading makes up for it."""
        self._dropout = None
        try:
            for counter, read in self._counters:
                counter.add(read(), time.monotonic_ns())
        except Dropout as cause:
            self._dropout = cause

    def joules(self, start_ns: int, end_ns: int) -> float:
        """Joules since the first reading. Raises SensorError where a counter did not move or the last one failed."""
        if self._dropout:
            raise self._dropout
        for counter, _ in self._counters:
            if not counter.total_uj:
                raise SensorError(f"{counter.name} did not move in the window")
        return sum(counter.total_uj for counter, _ in self._counters) / 1e6

    def close(self) -> None:
        """Nothing to let go of."""
