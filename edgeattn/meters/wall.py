"""Power of the whole device, from a meter at its plug or in its supply line, which the user has set up.

EDGEATTN_WALL_METER is a serial port ("/dev/ttyUSB0", "/dev/ttyUSB0@115200") or a command; either gives one line per
reading, the watts as a number, for as long as it is read.
"""

from __future__ import annotations

import os
import re
import statistics
import time
from itertools import pairwise

from edgeattn.devices import DeviceProfile
from edgeattn.meters.base import WALL_VARIABLE, Scope
from edgeattn.meters.faults import Dropout, SensorError
from edgeattn.meters.lines import Lines, open_lines
from edgeattn.meters.power import PowerTally, Stillness
from edgeattn.meters.sampled import SampledMeter

_LINE = re.compile(r"\s*([+-]?\d{1,7}(?:\.\d{1,9})?)\s*W?\s*", re.ASCII)
_WAIT_S = 10.0  # for a reading
_LEARNT = 4  # readings that tell how often the meter has one


class WallTally(PowerTally):
    """The readings of a window. It owns the source of their lines."""

    def __init__(self, lines: Lines, period_s: float, stillness: Stillness) -> None:
        super().__init__(self._now, f"wall meter, {lines.name}", period_s=period_s, stillness=stillness)
        self._lines = lines

    def _now(self) -> float:
        """The mean of the readings since the last call."""
        found = [watts(line) for line in self._lines.new()]
        if not found:
            raise Dropout(f"{self._lines.name} gives no more lines")
        return statistics.fmean(found)

    def wait(self, count: int) -> list[float]:
        """Waits for `count` more readings: seconds at which they came. Raises SensorError if one does not."""
        times_s: list[float] = []
        while len(times_s) < count:
            limit_s = time.monotonic() + _WAIT_S
            while True:
                try:
                    self.start()
                    break
                except Dropout:
                    if time.monotonic() > limit_s:
                        raise SensorError(f"{self._lines.name} gave no reading in {_WAIT_S:g} s") from None
                    time.sleep(0.01)
            times_s.append(time.monotonic())
        return times_s

    def close(self) -> None:
        self._lines.close()


class WallMeter(SampledMeter):
    """The meter that EDGEATTN_WALL_METER names. Its windows start with a reading, so up to a period late."""

    name = "wall"
    scope: Scope = "wall"

    def __init__(self, configured: str | None) -> None:
        self._configured = configured
        self._period_s: float | None = None
        self._stillness: Stillness | None = None

    @property
    def period_s(self) -> float:
        """Seconds between its readings, as found by `available`."""
        return self._period_s or 1.0

    def available(self) -> str | None:
        """None, or the reason; listens to a few readings to learn how often they come."""
        if self._period_s is not None:
            return None
        try:
            tally = self.open()
            try:
                times_s = tally.wait(_LEARNT)
            finally:
                tally.close()
        except SensorError as cause:
            return str(cause)
        gap_s = statistics.median(later - sooner for sooner, later in pairwise(times_s))
        self._period_s = max(gap_s, self.poll_s)
        self._stillness = None
        return None

    def open(self) -> WallTally:
        """A tally with its first reading. Raises SensorError."""
        if not self._configured:
            raise SensorError(
                f"no wall meter is set up: {WALL_VARIABLE} names a command or a serial port that gives watts"
            )
        self._stillness = self._stillness or Stillness(self.period_s)
        tally = WallTally(open_lines(self._configured), self.period_s, self._stillness)
        try:
            tally.wait(1)
        except SensorError:
            tally.close()
            raise
        return tally


def watts(line: str) -> float:
    """Of a line such as "12.3" or "12.3 W". Raises SensorError for any other."""
    found = _LINE.fullmatch(line)
    if found is None:
        raise SensorError(f"the wall meter says {line[:40]!r}, not a number of watts")
    return float(found[1])


def meter(profile: DeviceProfile) -> WallMeter:
    """The meter that the user has set up; it needs nothing from the profile."""
    return WallMeter(os.environ.get(WALL_VARIABLE))
