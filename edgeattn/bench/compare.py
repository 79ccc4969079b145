"""Quick timings of several engines, to choose by: `quick_compare` of a few, `fastest` of many."""

from __future__ import annotations

import itertools
import logging
import math
import random
import statistics
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from edgeattn.bench.inputs import Arrays, save_feeds
from edgeattn.bench.leg import Engine, Leg, Turns
from edgeattn.devices.probe import usable_memory_bytes
from edgeattn.errors import EdgeattnError
from edgeattn.progress import Progress
from edgeattn.scratch import scratch

LOG = logging.getLogger("edgeattn")
Case = TypeVar("Case", bound=Hashable)  # what is timed, such as a length

SLOWER = 1.3  # than the fastest of its group: an engine that is left out of the second stage
TOGETHER = 6  # engines that run at once at most
_MEMORY_SHARE = 0.5  # of the usable memory, for the engines that run at once
_TIMEOUT_S = 600.0  # for an engine to load, or to run for a block


def quick_compare(
    engines: Mapping[str, Engine],
    feeds: Sequence[Arrays] | Mapping[str, Sequence[Arrays]],
    *,
    rounds: int = 5,
    block_s: float = 0.2,
    warm_s: float = 0.3,
    seed: int = 0,
    failed: Callable[[str, EdgeattnError], None] | None = None,
) -> dict[str, list[float]]:
    """Milliseconds of one inference: name -> [rounds], each the median of one block.

    feeds: inputs that are used in rotation, the same for all engines or a list for each.
    failed: told of each engine that does not load or run, which then has no times; without it, its error is raised.
    Each engine has its own process. Each round times all of them in random order, so item i of one list was
    measured within seconds of item i of another and their ratio is meaningful. With only one process per engine,
    the result is good enough to choose by, not to publish.
    """
    with ExitStack() as stack:
        work = stack.enter_context(scratch("compare"))
        path = work / "feeds.npz"
        if not isinstance(feeds, Mapping):
            save_feeds(path, feeds)
        turns = Turns()
        legs: dict[str, Leg] = {}
        latencies: dict[str, list[float]] = {}

        def left_out(name: str, error: EdgeattnError) -> None:
            if failed is None:
                raise error
            failed(name, error)
            legs.pop(name, None)
            latencies.pop(name, None)

        for place, (name, engine) in enumerate(engines.items()):
            if isinstance(feeds, Mapping):
                path = work / f"feeds{place}.npz"
                save_feeds(path, feeds[name])
            try:
                leg = stack.enter_context(Leg(f"compare {name}", engine, path))
                turns.give(leg).load()
                leg.measure(seconds=warm_s)
                legs[name], latencies[name] = leg, []
            except EdgeattnError as error:
                left_out(name, error)
        shuffle = random.Random(seed)
        for _ in range(rounds):
            order = list(legs)
            shuffle.shuffle(order)
            for name in order:
                try:
                    latencies[name].append(_block_ms(turns.give(legs[name]), block_s))
                except EdgeattnError as error:
                    left_out(name, error)
    return latencies


@dataclass(frozen=True)
class Timing:
    """What `fastest` found of one engine.

    latency_ms: of one inference, case -> the median over `rounds` blocks; empty for an engine that does not run.
    eliminated: too slow for the second stage, or it does not run. Its latency is what it would be beside the others,
    estimated from the best of its rounds alone: that tells engines apart that differ by SLOWER, not by less.
    problem: why it does not run.
    """

    latency_ms: Mapping[Hashable, float] = field(default_factory=dict)
    rounds: int = 0
    eliminated: bool = False
    problem: str | None = None


def fastest(
    engines: Mapping[str, Engine],
    groups: Mapping[str, str],
    feeds: Mapping[Case, Sequence[Arrays]],
    *,
    rounds: int = 5,
    block_s: float = 0.1,
    alone_rounds: int = 2,
    together: int = TOGETHER,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Timing]:
    """Times many engines by elimination: name -> Timing, in the order of `engines`.

    groups: name -> its group, such as "dense"; engines are compared with those of their group only.
    feeds: case, such as a length -> inputs that are used in rotation.
    First each engine is timed alone, one process after the other. What is more than SLOWER times slower than the
    fastest of its group in every case is eliminated; so are, from the slowest, what is more than `together` engines of
    a group, and what does not fit into half of the memory beside the others. Then the rest of a group takes turns in
    rounds of random order, so that their ratios are meaningful.
    An engine that does not load or run has a `problem`. Raises the first engine's error where none runs.
    """
    with scratch("compare") as work:
        paths = []
        for place, inputs in enumerate(feeds.values()):
            paths.append(work / f"feeds{place}.npz")
            save_feeds(paths[-1], inputs)
        alone = _alone(engines, list(feeds), paths, alone_rounds, block_s, progress)
        timings = {name: replace(found.timing, eliminated=True) for name, found in alone.items()}
        for group in dict.fromkeys(groups[name] for name in engines):
            members = {name: found for name, found in alone.items() if groups[name] == group}
            kept = _kept(members, together)
            if len(kept) < 2:
                timings |= {name: alone[name].timing for name in kept}
                continue
            if progress:
                progress.update(len(engines), len(engines), comparing=f"the {len(kept)} fastest {group}")
            named = {name: engines[name] for name in kept}
            in_turn = _in_turn(named, timings, list(feeds), paths, rounds, block_s, seed)
            timings |= {name: _beside(alone[name].timing, in_turn, timings) for name in members if name not in kept}
            timings |= in_turn
    return timings


@dataclass(frozen=True)
class _Alone:
    """An engine timed by itself. peak_bytes: of its process; None where unknown."""

    timing: Timing
    peak_bytes: int | None = None


def _alone(
    engines: Mapping[str, Engine],
    cases: Sequence[Case],
    paths: Sequence[Path],
    rounds: int,
    block_s: float,
    progress: Progress | None,
) -> dict[str, _Alone]:
    found: dict[str, _Alone] = {}
    errors: list[EdgeattnError] = []
    for done, (name, engine) in enumerate(engines.items()):
        if progress:
            progress.update(done, len(engines), timing=name)
        try:
            with Leg(f"compare {name}", engine, *paths, timeout_s=_TIMEOUT_S) as leg:
                leg.load()
                latencies: dict[Hashable, float] = {}
                for place, case in enumerate(cases):
                    leg.measure(seconds=block_s, case=place)  # warm-up
                    # The best block: nothing makes an engine faster than it is, another load makes it slower.
                    latencies[case] = min(_block_ms(leg, block_s, place) for _ in range(rounds))
                found[name] = _Alone(Timing(latencies, rounds), leg.peak_bytes())
        except EdgeattnError as error:
            errors.append(error)
            LOG.debug("%s does not run: %s", name, error)
            found[name] = _Alone(Timing(problem=error.fact))
    if errors and len(errors) == len(engines):
        raise errors[0]
    return found


def _kept(members: Mapping[str, _Alone], together: int) -> list[str]:
    """The members that go on, the fastest first."""
    latencies = {name: found.timing.latency_ms for name, found in members.items() if not found.timing.problem}
    if not latencies:
        return []
    best = {case: min(each[case] for each in latencies.values()) for case in next(iter(latencies.values()))}
    slowness = {name: [each[case] / best[case] for case in best] for name, each in latencies.items()}
    order = sorted(slowness, key=lambda name: statistics.fmean(slowness[name]))
    usable = usable_memory_bytes()
    kept: list[str] = []
    free = math.inf if usable is None else usable * _MEMORY_SHARE
    for name in (name for name in order if min(slowness[name]) <= SLOWER):
        free -= members[name].peak_bytes or 0
        if kept and (free < 0 or len(kept) == together):
            break
        kept.append(name)
    return kept


def _in_turn(
    engines: Mapping[str, Engine],
    alone: Mapping[str, Timing],
    cases: Sequence[Case],
    paths: Sequence[Path],
    rounds: int,
    block_s: float,
    seed: int,
) -> dict[str, Timing]:
    """The engines timed in rounds of random order. One that fails beside the others keeps its timing alone."""
    shuffle, turns = random.Random(seed), Turns()
    series: dict[str, dict[Hashable, list[float]]] = {name: {case: [] for case in cases} for name in engines}
    problems: dict[str, str] = {}
    with ExitStack() as stack:
        legs: dict[str, Leg] = {}
        for name, engine in engines.items():
            try:
                leg = stack.enter_context(Leg(f"compare {name}", engine, *paths, quiet=True, timeout_s=_TIMEOUT_S))
                turns.give(leg).load()
                for place in range(len(cases)):
                    leg.measure(seconds=block_s, case=place)
                legs[name] = leg
            except EdgeattnError as error:
                problems[name] = error.fact
        for _, (place, case) in itertools.product(range(rounds), enumerate(cases)):
            order = list(legs)
            shuffle.shuffle(order)
            for name in order:
                try:
                    series[name][case].append(_block_ms(turns.give(legs[name]), block_s, place))
                except EdgeattnError as error:
                    problems[name] = error.fact
                    del legs[name]
    return {
        name: replace(alone[name], problem=problems[name])
        if name in problems
        else Timing({case: statistics.median(found) for case, found in series[name].items()}, rounds)
        for name in engines
    }


def _beside(found: Timing, in_turn: Mapping[str, Timing], alone: Mapping[str, Timing]) -> Timing:
    """An eliminated engine's timing, scaled as those of its group changed from alone to in turn.

    Else the machine's load, which was another one then, would make it look faster or slower than it is.
    """
    timed = [name for name, timing in in_turn.items() if timing.problem is None]
    scaled = {
        case: ms * statistics.median(in_turn[name].latency_ms[case] / alone[name].latency_ms[case] for name in timed)
        if timed
        else ms
        for case, ms in found.latency_ms.items()
    }
    return replace(found, latency_ms=scaled, eliminated=True)


def _block_ms(leg: Leg, seconds: float, case: int = 0) -> float:
    return statistics.median(leg.measure(seconds=seconds, case=case)) / 1e6
