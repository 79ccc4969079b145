"""Progress of long work: a bar on a terminal, plain lines elsewhere, always on stderr."""

from __future__ import annotations

import atexit
import time
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bars

_LINE_EVERY_S = 10.0  # between two plain lines of a stage
_DRAW_EVERY_S = 0.1
_SPEED_OVER_S = 3600.0  # the time left is estimated from the steps of the last hour


def duration(seconds: float) -> str:
    """Seconds for a reader: 0.4 s, 12 s, 3 min 05 s."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"


class Progress:
    """Reports stages, one at a time: `stage`, any number of `update`s, `finish`.

    bars: draw one on a terminal; False where several report at the same time.
    """

    def __init__(self, stream: TextIO | None = None, *, bars: bool = True) -> None:
        self._console = Console(file=stream, stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)
        self._live = bars and self._console.file.isatty() and not self._console.is_dumb_terminal
        # No thread redraws the bar: it would disturb what is measured.
        self._bars = Bars(
            TextColumn("  {task.fields[stage]:<10}", markup=False),
            BarColumn(20),
            TextColumn("{task.description}", markup=False),
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            speed_estimate_period=_SPEED_OVER_S,
            get_time=lambda: time.monotonic(),
        )
        self._bars.add_task("", stage="")
        self._task = self._bars.tasks[0]
        self._shown = 0.0

    def stage(self, name: str, note: str = "") -> None:
        """A stage begins."""
        self._bars.reset(self._task.id, description=note, stage=name)
        self._task.total = None
        if self._live:
            self._bars.start()
            self._bars.refresh()
            atexit.register(self._bars.stop)  # after an error, the cursor comes back
        else:
            self._console.print(f"{name}: {note or 'started'}")
            self._shown = time.monotonic()

    def update(self, done: int, total: int, what: str = "", /, **facts: Any) -> None:
        """`done` of `total` steps of `what` are done; facts are shown beside it, such as loss=0.12.

        A stage may count several times, one count after the other; the time left is that of the present count.
        """
        if done <= self._task.completed:
            self._bars.reset(self._task.id)  # a new count
        self._bars.update(self._task.id, completed=done, total=total)
        now = time.monotonic()
        if now - self._shown < (_DRAW_EVERY_S if self._live else _LINE_EVERY_S) and done < total:
            return
        self._shown = now
        remaining = self._task.time_remaining
        left = f", {duration(remaining)} left" if remaining else ""
        shown = "".join(f", {key} {_plain(value)}" for key, value in facts.items())
        text = f"{what} {done}/{total}{shown}{left}".lstrip()
        if self._live:
            self._bars.update(self._task.id, description=text, refresh=True)
        else:
            stage = self._task.fields["stage"]  # none has begun where a job is run by itself
            self._console.print(f"{stage}: {text}" if stage else text)

    def line(self, text: str) -> None:
        """Print a line, above the bar where there is one."""
        self._console.print(text)

    def finish(self, name: str, seconds: float, *, cached: bool = False, note: str = "") -> None:
        """A stage is done, or was found in the store."""
        took = "from the store" if cached else duration(seconds)
        if self._live:
            self._bars.stop()
            self._console.print(f"  {name:<10} {took:<16} {note}")
        else:
            self._console.print(f"{name}: done, {took}{', ' + note if note else ''}")


def _plain(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
