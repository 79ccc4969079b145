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

    scope: what the joules cover; `model` is an estimate and always labelled as one.
    source: the sensor, or the source of the estimate.
    """

    joules: float
    seconds: float
    scope: Scope
    source: str


@dataclass
class Window:
    """The result of a measured window; filled in when the window ends.

    energy: None where the sensor failed, with the reason in `reason`. Never 0.
    """

    energy: Energy | None = None
    reason: str | None = None


class Meter(Protocol):
    """An energy meter of this machine."""

    name: str

    def available(self) -> str | None:
        """None if it can measure now, else the reason why not."""

    def window(self, pids: Sequence[int] | None = None) -> AbstractContextManager[Window]:
        """Measures while the context is open.

        pids: the processes to measure, with their descendants; this process when None. A sensor of the whole
        machine ignores them.
        """
