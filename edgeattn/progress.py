"""How long work shows itself: a live line on a terminal, plain lines elsewhere, always on stderr."""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO

_LINE_EVERY_S = 10.0  # between two plain lines of one stage, where there is no terminal
_DRAW_EVERY_S = 0.1


def duration(seconds: float) -> str:
    """Seconds for a reader: 0.4 s, 12 s, 3 min 05 s."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"


class Progress:
    """Reports stages, one at a time: `stage`, any number of `update`s, `finish`."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._stage = ""
        self._started = self._shown = self._updated = time.monotonic()
        self._done = self._base = 0

    def stage(self, name: str, note: str = "") -> None:
        """A stage begins."""
        self._stage = name
        self._started = self._updated = time.monotonic()
        self._done = 0
        self._shown = self._started if not self._live else 0.0
        if self._live:
            self._draw(f"  {name:<10} {note}")
        else:
            self._line(f"{name}: {note or 'started'}")

    def update(self, done: int, total: int, what: str = "", /, **facts: Any) -> None:
        """The stage stands at `done` of `total` of `what`; facts are shown beside it, such as loss=0.12.

        A stage may count several times, one after the other; the time left is that of the present count.
        """
        now = time.monotonic()
        if done <= self._done or self._done == 0:
            # A new count. A resumed one starts in the middle: what was done before took none of this time.
            self._started, self._base = self._updated, max(0, done - 1)
        self._done, self._updated = done, now
        if now - self._shown < (_DRAW_EVERY_S if self._live else _LINE_EVERY_S) and done < total:
            return
        self._shown = now
        each = (now - self._started) / max(1, done - self._base)
        left = f", {duration(each * (total - done))} left" if 0 < done < total else ""
        shown = "".join(f", {key} {_plain(value)}" for key, value in facts.items())
        text = f"{what} {done}/{total}{shown}{left}".lstrip()
        if self._live:
            filled = int(20 * done / max(total, 1))
            self._draw(f"  {self._stage:<10} [{'#' * filled}{'.' * (20 - filled)}] {text}")
        else:
            self._line(f"{self._stage}: {text}")

    def finish(self, name: str, seconds: float, *, cached: bool = False, note: str = "") -> None:
        """A stage is done, or was found in the store."""
        took = "from the store" if cached else duration(seconds)
        if self._live:
            self._draw("")
            self._stream.write(f"  {name:<10} {took:<16} {note}\n")
            self._stream.flush()
        else:
            self._line(f"{name}: done, {took}{', ' + note if note else ''}")

    def _draw(self, text: str) -> None:
        self._stream.write(f"\r\x1b[2K{text}")
        self._stream.flush()

    def _line(self, text: str) -> None:
        self._stream.write(text + "\n")
        self._stream.flush()


def _plain(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
