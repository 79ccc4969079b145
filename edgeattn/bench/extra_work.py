"""A slowdown by extra work inside the timed call, to see whether a gate catches a real one."""

from __future__ import annotations

import time
from typing import Any

from edgeattn.runtimes.base import Arrays, Memory, Session


class Slowed:
    """A session that computes for longer than its engine does.

    share: of each inference's own time that is worked in addition, such as 0.05 for 5 %. The work is a busy loop on
    one core: it takes real time and energy, and is timed as the engine is.
    """

    def __init__(self, session: Session, share: float) -> None:
        self._session = session
        self._share = share

    def run(self, feeds: Arrays) -> Arrays:
        start_ns = time.perf_counter_ns()
        outputs = self._session.run(feeds)
        done_ns = time.perf_counter_ns()
        until_ns = done_ns + (done_ns - start_ns) * self._share
        while time.perf_counter_ns() < until_ns:
            pass
        return outputs

    def memory(self, feeds: Arrays) -> Memory:
        """That of the engine."""
        return self._session.memory(feeds)

    def describe(self) -> dict[str, Any]:
        """The engine's facts, with the extra work."""
        return {**self._session.describe(), "extra_work": self._share}
