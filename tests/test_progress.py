"""What long work shows where there is no terminal, with a clock that the test turns."""

from __future__ import annotations

import io
import itertools

import pytest

from edgeattn import progress
from edgeattn.progress import Progress, duration


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> itertools.count:
    """Each look at the clock is 20 s after the one before."""
    ticks = itertools.count(0, 20)
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(ticks)))
    return ticks


def shown(*counts: tuple[int, int, str]) -> list[str]:
    stream = io.StringIO()
    shows = Progress(stream)
    shows.stage("distill")
    for done, total, what in counts:
        shows.update(done, total, what, loss=0.5)
    return stream.getvalue().splitlines()


def test_the_time_left_is_that_of_the_present_count(clock):
    assert shown((1, 4, "transfer"), (2, 4, "transfer"), (1, 10, "finetune"), (2, 10, "finetune")) == [
        "distill: started",
        "distill: transfer 1/4, loss 0.5, 1 min 00 s left",
        "distill: transfer 2/4, loss 0.5, 40 s left",
        "distill: finetune 1/10, loss 0.5, 3 min 00 s left",
        "distill: finetune 2/10, loss 0.5, 2 min 40 s left",
    ]


def test_a_resumed_count_is_not_thought_faster_than_it_is(clock):
    assert shown((51, 100, "finetune"), (52, 100, "finetune"))[1:] == [
        "distill: finetune 51/100, loss 0.5, 16 min 20 s left",
        "distill: finetune 52/100, loss 0.5, 16 min 00 s left",
    ]


def test_lines_are_rare_without_a_terminal(monkeypatch):
    monkeypatch.setattr(progress.time, "monotonic", lambda: 0.0)
    assert shown((1, 3, ""), (2, 3, ""), (3, 3, "")) == ["distill: started", "distill: 3/3, loss 0.5"]


@pytest.mark.parametrize(("seconds", "text"), [(0.42, "0.4 s"), (12.3, "12 s"), (185, "3 min 05 s")])
def test_durations(seconds, text):
    assert duration(seconds) == text
