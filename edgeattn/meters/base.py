"""The contract of an energy meter."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, Protocol

Scope = Literal["module", "package", "gpu", "wall", "partial", "model"]

# Names the user's own meter: see edgeattn.meters.wall.
WALL_VARIABLE = "EDGEATTN_WALL_METER"

# The shortest window that averages out a sensor's own noise and the phase of its readings.
_FULL_S, _FULL_PERIODS = 10.0, 100


@dataclass(frozen=True)
class Energy:
    """Gross joules over a window of monotonic seconds. Energies of different scopes are never compared.

    scope: what the joules cover; `model` is an estimate and always labelled as one.
    source: the sensor, or the source of the estimate.
    """

    joules: float
    seconds: float
    scope: Scope
    source: str

    @property
    def watts(self) -> float:
        """Mean power over the window."""
        return self.joules / self.seconds


@dataclass
class Window:
    """The result of a measured window; filled in when the window ends.

    energy: None where the sensor failed, with the reason in `reason`. Never 0.
    """

    energy: Energy | None = None
    reason: str | None = None


class Meter(Protocol):
    """An energy meter of this machine. scope: of its energies."""

    name: str
    scope: Scope

    @property
    def period_s(self) -> float:
        """Seconds from one reading of the sensor to the next."""

    def available(self) -> str | None:
        """None if it can measure now, else the reason why not, with its remedy where there is one."""

    def window(self, pids: Sequence[int] | None = None) -> AbstractContextManager[Window]:
        """Measures while the context is open.

        pids: the processes to measure, with their descendants; this process when None. A sensor of the whole
        machine ignores them.
        """


def slowness(meter: Meter) -> float:
    """How much longer than for a fast sensor windows must be: 1 up to a period of 0.1 s, 10 at 1 s."""
    return max(1.0, _FULL_PERIODS * meter.period_s / _FULL_S)


def full_window_s(meter: Meter) -> float:
    """Seconds that a window takes at least in a full session: 10, and 100 periods of the sensor."""
    return _FULL_S * slowness(meter)
