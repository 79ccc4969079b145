"""Which trial of a side is shipped: the fastest or smallest of those that keep the accuracy floor."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from edgeattn.bench.accuracy import shown
from edgeattn.build.scoring import Scores
from edgeattn.build.trials import Trial
from edgeattn.errors import VerificationError

# A trial must be this much faster, or smaller, to be preferred to a more precise one: less is timing noise.
WORTH = 0.03
_COMPARED = 3  # rows that the reason for a choice names


@dataclass
class Row:
    """A trial that was timed. latency_ms: tokens, or None without a length axis -> milliseconds of one inference."""

    trial: Trial
    latency_ms: dict[int | None, float]
    metrics: dict[str, float | None] | None = None  # None: not scored, since a faster trial ships
    right: bool | None = None

    def measure(self, prefer: str) -> float:
        """What the choice is by: bytes, or the geometric mean of the latencies over the lengths, in ms."""
        if prefer == "size":
            return self.trial.bytes
        logs = [math.log(latency) for latency in self.latency_ms.values()]
        return math.exp(sum(logs) / len(logs))


def choose(
    rows: Sequence[Row], scores: Scores, score: Callable[[Trial], dict[str, float | None]], *, prefer: str, side: str
) -> Row:
    """The row to ship. Trials are scored one after another, until the best of those not yet refused keeps the floor.

    A less precise trial ships only if it is faster (or smaller) by WORTH than every more precise one; of equally
    precise ones, the first that no other beats by WORTH.
    Raises VerificationError where no trial keeps the accuracy floor.
    """
    rows = sorted(rows, key=lambda row: row.trial.order)
    while left := [row for row in rows if row.right is not False]:
        best = _pick(left, prefer)
        if best.right is None:
            best.metrics = score(best.trial)
            best.right = scores.hold(best.metrics)
        if best.right:
            return best
    best = max(rows, key=lambda row: _goodness(row, scores))
    name = scores.metric.name
    raise VerificationError(
        f"no candidate for the {side} model keeps the accuracy floor: the best, {best.trial.name}, has "
        f"{name} {shown((best.metrics or {}).get(name))}, the floor is {shown(scores.floor)}",
        where="build",
        fix="distill for more steps, keep some layers dense, or lower accept.of_teacher",
    )


def _goodness(row: Row, scores: Scores) -> float:
    """For ordering: a trial without a finite value is worse than any other."""
    value = (row.metrics or {}).get(scores.metric.name)
    return -math.inf if value is None else value if scores.metric.higher_is_better else -value


def _pick(rows: Sequence[Row], prefer: str) -> Row:
    """rows: the most precise first."""
    chosen, least = rows[0], math.inf
    for _, group in itertools.groupby(rows, key=lambda row: row.trial.order):
        same = list(group)
        best = min(row.measure(prefer) for row in same)
        if best < least * (1 - WORTH):
            chosen = next(row for row in same if row.measure(prefer) * (1 - WORTH) <= best)
        least = min(least, best)
    return chosen


def because(chosen: Row, rows: Sequence[Row], prefer: str, scores: Scores) -> str:
    """Why a row ships, in one line: its measure, the fastest others of three kinds, and what failed the floor."""
    unit, word = ("ms", "faster") if prefer == "latency" else ("bytes", "smaller")
    over = f", the geometric mean of {len(chosen.latency_ms)} lengths" if len(chosen.latency_ms) > 1 else ""
    parts = [f"{chosen.trial.name} at {_shown(chosen.measure(prefer))} {unit}{over if prefer == 'latency' else ''}"]
    for row in _nearest(chosen, rows, prefer):
        ratio = row.measure(prefer) / chosen.measure(prefer)
        if row.right is False:
            value = (row.metrics or {}).get(scores.metric.name)
            parts.append(
                f"{row.trial.name} fails the floor ({scores.metric.name} {shown(value)}, "
                f"the floor is {shown(scores.floor)})"
            )
        elif ratio >= 1:
            parts.append(f"{ratio:.2f} x {word} than {row.trial.name}")
        else:
            than = "" if row.trial.order == chosen.trial.order else " than the best more precise candidate"
            parts.append(
                f"{row.trial.name} at {_shown(row.measure(prefer))} {unit} is less than {WORTH:.0%} {word}{than}"
            )
    return "; ".join(parts)


def _nearest(chosen: Row, rows: Sequence[Row], prefer: str) -> list[Row]:
    """The rows to compare it with: the best of each method and runtime, of which the best three."""
    found: dict[Any, Row] = {}
    others = sorted((row for row in rows if row is not chosen), key=lambda row: row.measure(prefer))
    for row in others:
        if row.right is not False:
            found.setdefault((row.trial.candidate.method, row.trial.runtime), row)
    return [row for row in others if row.right is False] + list(found.values())[:_COMPARED]


def _shown(value: float) -> str:
    return f"{value:.4g}" if value < 10_000 else f"{value:.0f}"
