"""Joules from readings of watts: the trapezoid rule over monotonic time, with what makes readings unusable."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from edgeattn.meters.faults import Dropout, SensorError

# More than any machine that this is for draws.
CREDIBLE_WATTS = 5000.0
_STUCK_S, _STUCK_PERIODS = 5.0, 50  # half a full window
_GAP_S, _GAP_PERIODS = 0.5, 5
_MISSED = 0.05  # of a window


class Stillness:
    """Tells a stuck sensor from a steady load: under a load, readings change.

    It outlives the windows of a meter, because one window may be too short to tell; time between windows does not
    count.
    """

    def __init__(self, period_s: float) -> None:
        self._limit_s = max(_STUCK_S, _STUCK_PERIODS * period_s)
        self._watts: float | None = None
        self._still_ns = 0
        self._last_ns: int | None = None

    def start(self) -> None:
        """A window starts."""
        self._last_ns = None

    def see(self, watts: float, at_ns: int) -> None:
        """Raises SensorError once the readings have been the same for five seconds and fifty periods."""
        if watts != self._watts:
            self._still_ns = 0
        elif self._last_ns is not None:
            self._still_ns += at_ns - self._last_ns
        self._watts, self._last_ns = watts, at_ns
        if self._still_ns >= self._limit_s * 1e9:
            still_s, self._still_ns = self._still_ns / 1e9, 0  # the next window is judged anew
            raise SensorError(f"the sensor is stuck: {watts:g} W for {still_s:.0f} s")


class PowerTally:
    """Adds up the readings of a power sensor."""

    def __init__(
        self,
        read: Callable[[], float],
        source: str,
        *,
        period_s: float,
        stillness: Stillness | None = None,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """read: watts now; raises Dropout where there is no reading this time, else SensorError."""
        self.source = source
        self._read = read
        self._period_s = period_s
        self._stillness = stillness or Stillness(period_s)
        self._stillness.start()
        self._clock_ns = clock_ns
        self._times_ns: list[int] = []
        self._watts: list[float] = []
        self._dropout: Dropout | None = None

    def start(self) -> PowerTally:
        """Itself, with its first reading. Raises SensorError, also for a dropout."""
        self._once()
        return self

    def sample(self) -> None:
        """Reads the sensor once. A dropout is noted, any other fault raised."""
        try:
            self._once()
        except Dropout as cause:
            self._dropout = cause

    def _once(self) -> None:
        before_ns = self._clock_ns()
        watts = self._read()
        # A slow sensor answers with the power of some moment of the call; its middle is nearest on average.
        self.add(watts, (before_ns + self._clock_ns()) // 2)

    def add(self, watts: float, at_ns: int) -> None:
        """Adds a reading at a monotonic time. Raises SensorError for an impossible one."""
        if not math.isfinite(watts) or not 0 < watts <= CREDIBLE_WATTS:
            raise SensorError(f"the sensor reads {watts:g} W")
        self._stillness.see(watts, at_ns)
        self._times_ns.append(at_ns)
        self._watts.append(watts)

    def joules(self, start_ns: int, end_ns: int) -> float:
        """Joules between two times. Raises SensorError where too many readings are missing."""
        if len(self._watts) < 3:
            raise self._missing(f"{len(self._watts)} readings in a window of {(end_ns - start_ns) / 1e9:.2f} s")
        self._check_gaps(start_ns, end_ns)
        inner = [at for at in self._times_ns if start_ns < at < end_ns]
        return trapezoid([start_ns, *inner, end_ns], self._times_ns, self._watts)

    def _check_gaps(self, start_ns: int, end_ns: int) -> None:
        """Short dropouts are bridged by the trapezoid, up to one in twenty of the window."""
        edges = [start_ns, *(min(max(at, start_ns), end_ns) for at in self._times_ns), end_ns]
        gaps_s = [(later - sooner) / 1e9 for sooner, later in pairwise(edges)]
        allowed_s = max(_GAP_S, _GAP_PERIODS * self._period_s)
        missed_s = sum(gap for gap in gaps_s if gap > 2 * self._period_s)
        longest_s, seconds = max(gaps_s), (end_ns - start_ns) / 1e9
        if longest_s > allowed_s:
            raise self._missing(f"no reading for {longest_s:.2f} s")
        if missed_s > max(allowed_s, _MISSED * seconds):
            raise self._missing(f"readings missing for {missed_s:.2f} of {seconds:.2f} s")

    def _missing(self, fact: str) -> SensorError:
        return SensorError(f"{fact}: {self._dropout}" if self._dropout else fact)

    def close(self) -> None:
        """Nothing to let go of."""


def trapezoid(points_ns: Sequence[int], times_ns: Sequence[int], watts: Sequence[float]) -> float:
    """Joules from the first to the last of `points_ns`, of readings at `times_ns`, held at both ends."""
    start_ns = points_ns[0]
    at_s = [(point - start_ns) / 1e9 for point in points_ns]  # small numbers: a float of monotonic ns loses digits
    power = np.interp(at_s, [(time - start_ns) / 1e9 for time in times_ns], watts)
    return float(np.sum((power[1:] + power[:-1]) / 2 * np.diff(at_s)))
