"""What long work shows: a bar on a terminal, rare plain lines elsewhere; the test moves the clock."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys

import pytest

from edgeattn import progress
from edgeattn.progress import Progress, duration


class Clock:
    now = 0.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> type[Clock]:
    monkeypatch.setattr(Clock, "now", 0.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: Clock.now)
    return Clock


def shown(clock: type[Clock], *counts: tuple[int, int, str], every_s: float = 20.0) -> list[str]:
    stream = io.StringIO()
    shows = Progress(stream)
    shows.stage("distill")
    for done, total, what in counts:
        clock.now += every_s
        shows.update(done, total, what, loss=0.5)
    return stream.getvalue().splitlines()


def test_the_time_left_is_that_of_the_present_count(clock):
    counts = (1, 4, "transfer"), (2, 4, "transfer"), (1, 10, "finetune"), (2, 10, "finetune"), (10, 10, "finetune")
    assert shown(clock, *counts) == [
        "distill: started",
        "distill: transfer 1/4, loss 0.5",
        "distill: transfer 2/4, loss 0.5, 40 s left",
        "distill: finetune 1/10, loss 0.5",
        "distill: finetune 2/10, loss 0.5, 2 min 40 s left",
        "distill: finetune 10/10, loss 0.5",
    ]


def test_a_resumed_count_is_not_thought_faster_than_it_is(clock):
    assert shown(clock, (51, 100, "finetune"), (52, 100, "finetune"))[1:] == [
        "distill: finetune 51/100, loss 0.5",
        "distill: finetune 52/100, loss 0.5, 16 min 00 s left",
    ]


def test_steps_of_minutes_have_a_time_left(clock):
    assert shown(clock, (1, 3, ""), (2, 3, ""), every_s=300)[2] == "distill: 2/3, loss 0.5, 5 min 00 s left"


def test_lines_are_rare_without_a_terminal(clock):
    assert shown(clock, (1, 3, ""), (2, 3, ""), (3, 3, ""), every_s=1) == ["distill: started", "distill: 3/3, loss 0.5"]


def test_the_end_of_a_stage_is_a_line_however_long():
    stream = io.StringIO()
    note = "[red]a note[/red] " * 20
    Progress(stream).finish("data", 12.3, note=note)
    Progress(stream).finish("data", 0, cached=True)
    assert stream.getvalue() == f"data: done, 12 s, {note}\ndata: done, from the store\n"


SCRIPT = """
import sys
from edgeattn.progress import Progress
shows = Progress()
shows.stage("distill", "[b]note[/b]")
shows.update(1, 4, "transfer", loss=0.5)
print("a warning", file=sys.stderr)
shows.update(4, 4, "transfer", loss=0.25)
if sys.argv[1] == "ends":
    shows.finish("distill", 3.0, note="4 steps")
print("the document")
"""


@pytest.mark.parametrize("ends", ["ends", "fails"])
def test_a_terminal_has_a_bar_that_goes_away(ends):
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, ends], stdout=subprocess.PIPE, stderr=theirs, env=environment, check=True
    )
    os.close(theirs)
    said = os.read(ours, 100_000).decode()
    os.close(ours)
    assert done.stdout == b"the document\n"
    assert "[b]note[/b]" in said
    assert "\x1b[?25l" in said  # the cursor is hidden,
    assert said.rindex("\x1b[?25h") > said.rindex("\x1b[?25l")  # and comes back whatever happens
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said)
    assert re.search(r"distill +━+ +transfer 4/4, loss 0.25", plain)
    assert "a warning\r\n" in plain
    assert ("  distill    3.0 s            4 steps" in plain) == (ends == "ends")


@pytest.mark.parametrize(("seconds", "text"), [(0.42, "0.4 s"), (12.3, "12 s"), (185, "3 min 05 s")])
def test_durations(seconds, text):
    assert duration(seconds) == text
