"""A meter whose sensor a thread reads while a window is open."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from edgeattn.meters.base import Energy, Scope, Window
from edgeattn.meters.faults import SensorError


class Tally(Protocol):
    """The readings of one window. Its methods raise SensorError."""

    source: str

    def sample(self) -> None:
        """Reads the sensor once."""

    def joules(self, start_ns: int, end_ns: int) -> float:
        """Joules between two monotonic times, which lie between its first and its last reading."""

    def close(self) -> None:
        """Lets go of the sensor."""


class SampledMeter(ABC):
    """A sensor of the machine, read every `poll_s` from before a window starts until after it ends."""

    name: str
    scope: Scope
    poll_s: float = 0.05

    @property
    def period_s(self) -> float:
        """Seconds from one reading of the sensor to the next."""
        return self.poll_s

    @abstractmethod
    def open(self) -> Tally:
        """A tally with its first reading. Raises SensorError, whose text is shown to the user."""

    def available(self) -> str | None:
        """None, or the reason why the sensor cannot be read."""
        try:
            self.open().close()
        except SensorError as cause:
            return str(cause)
        return None

    @contextmanager
    def window(self, pids: Sequence[int] | None = None) -> Iterator[Window]:
        """Measures the whole machine, or the part that the scope covers, while the context is open."""
        window = Window()
        try:
            tally = self.open()
        except SensorError as cause:
            window.reason = str(cause)
            yield window
            return
        try:
            start_ns = time.monotonic_ns()
            with _reading(tally, self.poll_s, self.name) as failures:
                yield window
                end_ns = time.monotonic_ns()
            try:
                if failures:
                    raise failures[0]
                tally.sample()
                joules = tally.joules(start_ns, end_ns)
            except SensorError as cause:
                window.reason = str(cause)
                return
            window.energy = Energy(joules, (end_ns - start_ns) / 1e9, self.scope, tally.source)
        finally:
            tally.close()


@contextmanager
def _reading(tally: Tally, poll_s: float, name: str) -> Iterator[list[SensorError]]:
    """Samples in a thread while the context is open; the thread ends at the first fault, which it appends."""
    failures: list[SensorError] = []
    done = threading.Event()

    def sample_until_done() -> None:
        try:
            while not done.wait(poll_s):
                tally.sample()
        except SensorError as cause:
            failures.append(cause)

    thread = threading.Thread(target=sample_until_done, name=f"edgeattn-{name}", daemon=True)
    thread.start()
    try:
        yield failures
    finally:
        done.set()
        thread.join()
