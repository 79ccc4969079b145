"""A power sensor of known power in simulated time."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from edgeattn.meters.faults import Dropout
from edgeattn.meters.power import PowerTally

START_NS = 10**15  # days after the start of the machine: monotonic times are large


def joules(
    power: Callable[[float], float],
    *,
    seconds: float = 10.0,
    period_s: float = 0.05,
    lost: Callable[[float], bool] = lambda at_s: False,
    late_s: float = 0.0137,
) -> float:
    """What a meter says of a window of `seconds` in which the sensor reads `power(t)` watts every `period_s`.

    lost: at these times it does not answer. late_s: from the first reading to the start of the window.
    """
    now_ns = START_NS

    def read() -> float:
        at_s = (now_ns - start_ns) / 1e9
        if lost(at_s):
            raise Dropout("curr1_input cannot be read: Input/output error")
        return power(at_s)

    start_ns = START_NS + round(late_s * 1e9)
    end_ns = start_ns + round(seconds * 1e9)
    tally = PowerTally(read, "simulated", period_s=period_s, clock_ns=lambda: now_ns).start()
    for place in count(1):
        now_ns = START_NS + round(place * period_s * 1e9)
        tally.sample()
        if now_ns >= end_ns:
            return tally.joules(start_ns, end_ns)
    raise AssertionError
