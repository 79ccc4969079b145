"""Pairs from real processes: the baseline's and the candidate's engine, timed in turn on this machine."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from edgeattn.bench.contestant import Case
from edgeattn.bench.measured import InCase
from edgeattn.bench.session import Session
from edgeattn.bench.statistics import percentile
from edgeattn.errors import DeviceError
from edgeattn.gate.sequential import Key, Pair
from edgeattn.progress import Progress

BASELINE, CANDIDATE = "baseline", "candidate"
SIDES = (BASELINE, CANDIDATE)
P50, P90, P99, ENERGY = "p50", "p90", "p99", "energy"
_PERCENTILES = {P50: 50, P90: 90, P99: 99}


@dataclass
class Seen:
    """What the pairs gave of one metric: its values, and for the p50 how far the halves of a process differ.

    values: side -> one value per pair, in ms, or mJ per inference. within: of each pair, the variance of its
    difference that comes from changes inside the processes.
    """

    values: dict[str, list[float]] = field(default_factory=lambda: {side: [] for side in SIDES})
    within: list[float] = field(default_factory=list)


class Pairs:
    """A `Source` of the gate's decision: each pair is two fresh processes of a bench session.

    A pair is discarded when the machine disturbed it (`edgeattn.bench.conditions`), or when one of its processes did
    not become steady. seen: of the pairs that were kept.
    """

    def __init__(self, session: Session, cases: Sequence[Case], most: int, progress: Progress | None = None) -> None:
        """cases: those of the session. most: pairs that a run takes, for the progress."""
        self._session = session
        self._cases = cases
        self._most = most
        self._progress = progress
        self._taken = 0
        self.seen: dict[Key, Seen] = {}

    def pair(self, wanted: frozenset[Key]) -> Pair:
        """The next pair, timed at the lengths of the metrics that are wanted.

        Raises DeviceError where an engine runs with other settings than those that it was tuned with.
        """
        lengths = {key.length for key in wanted}
        places = [place for place, case in enumerate(self._cases) if case.length in lengths]
        sides = self._session.seen
        energy = {(side, place): _energy(sides[side].cases[place]) for side in SIDES for place in places}
        disturbed = self._session.pair(places)
        if disturbed is not None:
            return Pair({}, disturbed)
        self._taken += 1
        sides = self._session.seen
        for side in SIDES:
            _require_tuned(side, sides[side].runtime or {})
        cells = {place: {side: sides[side].cases[place] for side in SIDES} for place in places}
        discarded = self._unsteady(cells)
        if discarded is not None:
            self._session.watch.discard(discarded)
        differences: dict[Key, float] = {}
        for place in places:
            values = {side: _values(cells[place][side], energy[side, place]) for side in SIDES}
            for metric in values[BASELINE].keys() & values[CANDIDATE].keys():
                key = Key(self._cases[place].length, metric)
                differences[key] = math.log(values[CANDIDATE][metric] / values[BASELINE][metric])
                if discarded is None:
                    self._note(key, {side: values[side][metric] for side in SIDES}, cells[place])
        if self._progress:
            facts = {
                "ratio" if key.length is None else f"ratio_at_{key.length}": math.exp(difference)
                for key, difference in differences.items()
                if key.metric == P50
            }
            self._progress.update(self._taken, max(self._taken, self._most), **facts)
        return Pair(differences, discarded)

    def _unsteady(self, cells: Mapping[int, Mapping[str, InCase]]) -> str | None:
        """The first process that did not become steady in the last pair. cells: place -> side -> what was measured."""
        for place, sides in cells.items():
            for side in SIDES:
                if not sides[side].steady[-1]:
                    return f"the {side} engine did not become steady{self._cases[place].at}"
        return None

    def _note(self, key: Key, values: dict[str, float], cells: Mapping[str, InCase]) -> None:
        seen = self.seen.setdefault(key, Seen())
        for side in SIDES:
            seen.values[side].append(values[side])
        if key.metric == P50:
            seen.within.append(sum(_within(cells[side].series[-1]) for side in SIDES))

    def peak_bytes(self, place: int) -> dict[str, float | None]:
        """Side -> the median peak memory at a case."""
        found = {side: self._session.seen[side].cases[place].peak_bytes for side in SIDES}
        return {side: float(np.median(values)) if values else None for side, values in found.items()}


def _energy(cell: InCase) -> tuple[float, int]:
    """Joules and inferences until now."""
    return cell.joules, cell.inferences


def _values(cell: InCase, before: tuple[float, int]) -> dict[str, float]:
    """The metrics of the last pair in a case: percentiles in ms, and mJ per inference where a sensor gave them."""
    series = cell.series[-1]
    found = {name: percentile(series, percent) for name, percent in _PERCENTILES.items()}
    values = {name: value / 1e6 for name, value in found.items() if value is not None}
    joules, inferences = cell.joules - before[0], cell.inferences - before[1]
    if not cell.no_energy and inferences and joules > 0:
        values[ENERGY] = joules / inferences * 1e3
    return values


def _within(series: Sequence[int]) -> float:
    """The variance of ln(p50) of a process that comes from within it: its halves are two estimates of the p50."""
    half = len(series) // 2
    if half == 0:
        return 0.0
    first, second = np.median(series[:half]), np.median(series[half:])
    return float(np.log(second / first)) ** 2 / 4


def _require_tuned(side: str, runtime: dict[str, object]) -> None:
    if runtime.get("tuned_here") is False:
        raise DeviceError(
            f"the {side}'s engine was tuned on another processor, or with another version of {runtime['runtime']}: "
            "here it runs with other settings",
            where=f"the {side} bundle",
            fix="build both bundles on this machine",
        )
