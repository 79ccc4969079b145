"""How long a lost connection is tried again, and how anything that waits is stopped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from edgeattn.errors import DeviceError
from edgeattn.hosts.ssh.connection import LinkLost

T = TypeVar("T")

# A board takes a minute or two to start again; a laptop may be carried to another room.
GIVE_UP_S = 600.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 15.0


class Patience:
    """Calls again what failed because the connection was lost, with growing pauses.

    say: prints a line. cancelled: set to end every wait with KeyboardInterrupt.
    """

    def __init__(self, say: Callable[[str], None], cancelled: threading.Event) -> None:
        self._say = say
        self._cancelled = cancelled
        self._lost_at: float | None = None
        self._pause_s = _FIRST_PAUSE_S

    def call(self, action: Callable[[], T]) -> T:
        """The result of `action`, which may be called several times. Raises DeviceError after GIVE_UP_S."""
        while True:
            try:
                result = action()
            except LinkLost as error:
                self.lost(error)
            else:
                self.heard()
                return result

    def heard(self) -> None:
        """The device has answered."""
        if self._lost_at is not None:
            self._say("the connection is back")
        self._lost_at, self._pause_s = None, _FIRST_PAUSE_S

    def lost(self, error: LinkLost) -> None:
        """Wait before the next attempt. Raises DeviceError when the device has been silent for too long."""
        now = time.monotonic()
        if self._lost_at is None:
            self._lost_at = now
            self._say(f"{error.fact}; trying again")
        if now - self._lost_at > GIVE_UP_S:
            raise DeviceError(
                f"{error.fact}; it was tried for {GIVE_UP_S / 60:.0f} minutes",
                where=error.where,
                fix="a job that had begun goes on there: the same command follows it again",
            ) from error
        self.pause(self._pause_s)
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)

    def pause(self, seconds: float) -> None:
        """Wait. Raises KeyboardInterrupt when cancelled."""
        if self._cancelled.wait(seconds):
            raise KeyboardInterrupt
