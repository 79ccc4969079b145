"""The contract of an energy meter."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, Protocol

Scope = Literal["module", "package", "gpu", "wall", "partial", "model"]


@dataclass(frozen=True)
class Energy:
    """Gross joules over a window of monotonic seconds. Energies of different scopes are never compared.

    scope: what the joules cover; `model` is an estimate and is labelled so wherever it is shown.
    source: the sensor, or what the estimate rests on.
    """

    joules: float
    seconds: float
    scope: Scope
    source: str


@dataclass
class Window:
    """What a meter saw between entering and leaving its window; filled in on leaving.

    energy: None where the sensor failed, and `reason` then says how. Never 0.
    """

    energy: Energy | None = None
    reason: str | None = None


class Meter(Protocol):
    """An energy meter of this machine."""

    name: str

    def available(self) -> str | None:
        """None if it can measure here and now, else the reason why not."""

    def window(self, pids: Sequence[int] | None = None) -> AbstractContextManager[Window]:
        """Measures while the context is open.

        pids: the processes whose work is meant, with their descendants; this process when None. A sensor of
        the whole machine cannot tell processes apart and leaves them aside.
        """
