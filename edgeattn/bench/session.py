"""Named contestants side by side, in pairs of fresh processes that take turns in random order."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from math import ceil
from pathlib import Path
from typing import Any

from edgeattn.bench.conditions import Watch
from edgeattn.bench.contestant import Case, Contestant
from edgeattn.bench.inputs import Arrays, save_feeds
from edgeattn.bench.leg import MOST, PAUSE_S, Leg, Turns
from edgeattn.bench.measured import InCase, Seen
from edgeattn.bench.protocol import Protocol
from edgeattn.bench.scenarios import Block, Budget, Scenario, scenario_of
from edgeattn.bench.speedup import speedup
from edgeattn.meters import Meter, slowness
from edgeattn.plaintext import plain
from edgeattn.scratch import scratch

LOG = logging.getLogger("edgeattn")


@contextmanager
def opened(
    contestants: Mapping[str, Contestant],
    cases: Sequence[Case],
    protocol: Protocol,
    meter: Meter | None,
    watch: Watch | None = None,
    scenario: Scenario | None = None,
) -> Iterator[Session]:
    """A session that times one pair after the other, as many as its caller asks for. cases: the shortest first.

    watch: that of an earlier session, to go on with; a new one when None. scenario: single requests when None;
    `protocol` is its own.
    """
    watch = watch or Watch()  # reads the conditions before the session loads the machine
    with scratch("bench") as folder:
        feeds: dict[str, list[Path]] = {}
        saved: list[tuple[Sequence[Arrays], Path]] = []  # most contestants share their inputs
        for name, contestant in contestants.items():
            feeds[name] = []
            for case in cases:
                given = contestant.feeds(case)
                path = next((path for other, path in saved if other is given), None)
                if path is None:
                    path = folder / f"feeds{len(saved)}.npz"
                    save_feeds(path, given)
                    saved.append((given, path))
                feeds[name].append(path)
        yield Session(contestants, cases, feeds, protocol, meter, watch, scenario or scenario_of())


class Session:
    """Contestants that are timed in pairs.

    seen: what was measured of each, until now. rejected: the same with the last pair that does not count.
    """

    def __init__(
        self,
        contestants: Mapping[str, Contestant],
        cases: Sequence[Case],
        feeds: Mapping[str, Sequence[Path]],
        protocol: Protocol,
        meter: Meter | None,
        watch: Watch,
        scenario: Scenario,
    ) -> None:
        self.contestants = contestants
        self.cases = cases
        self.feeds = feeds
        self.protocol = protocol
        self.meter = meter
        self.watch = watch
        self.scenario = scenario
        self.seen = {name: Seen([InCase() for _ in cases]) for name in contestants}
        self.rejected = self.seen
        self.shuffle = random.Random(protocol.seed)
        self.idle_watts: float | None = None
        self._kept = 0

    def pair(self, places: Sequence[int] | None = None) -> str | None:
        """Time every contestant in a fresh process; in the first pair, also check their outputs.

        places: of the cases that are timed; all when None. Returns why the pair does not count: then nothing of it is
        in `seen`, and the next one takes its place.
        """
        before = {name: seen.copy() for name, seen in self.seen.items()}
        self.watch.begin()
        self._time(range(len(self.cases)) if places is None else places)
        why = self.watch.end()
        if why is None:
            self._kept += 1
        else:
            self.rejected, self.seen = self.seen, before
        return why

    def _time(self, places: Sequence[int]) -> None:
        protocol, turns, first = self.protocol, Turns(), self._kept == 0
        with ExitStack() as stack:
            legs = self._started(stack, quiet=not first)
            before = {name: leg.peak_bytes() for name, leg in legs.items()}
            for name in self._order():
                loaded = turns.give(legs[name]).load()
                self.seen[name].runtime = loaded["session"]
                self.seen[name].cold_ns.append(loaded["load_ns"] + loaded["first_run_ns"])
            for place in places:
                for name in self._order():
                    self.watch.leg_starts(place)
                    self._warm_up(self.seen[name].cases[place], turns.give(legs[name]), place, before[name])
            if first:
                for place in places:
                    self.scenario.prepare(place, legs, turns, protocol)
            for block in range(protocol.blocks):
                for place in self.shuffle.sample(places, len(places)):
                    for name in self._order():
                        seed = f"{protocol.seed}.{self._kept}.{place}.{block}"
                        self._block(self.seen[name].cases[place], turns.give(legs[name]), place, seed)
                        self.watch.leg_ran()
            if not first:
                return
            for name in legs:  # in the processes that were just timed
                self.contestants[name].check(name, turns.give(legs[name]), self.cases)
            if self.meter is not None and protocol.energy_s:
                self._read_energy(self.meter, legs, turns)
            for name, leg in legs.items():  # the last, since it changes what the engine keeps
                for place in places:
                    self.seen[name].cases[place].memory = turns.give(leg).memory(case=place)

    def figure(self) -> str:
        """The first of the scenario's figures that every contestant has in every case."""
        cells = [(seen.cases[place], case) for seen in self.seen.values() for place, case in enumerate(self.cases)]
        figures = list(self.scenario.figures)
        whole = (each for each in figures if all(self.scenario.by_pair(each, *cell) is not None for cell in cells))
        return next(whole, figures[-1])

    def cell(self, place: int, reference: str, figure: str) -> dict[str, Any]:
        """What was measured in one case. figure: that the speedups are of."""
        case, scenario = self.cases[place], self.scenario
        found = {name: seen.cases[place] for name, seen in self.seen.items()}
        return {
            "length": case.length,
            "batch_size": case.batch_size,
            **scenario.cell_facts(place),
            "contestants": {
                name: {**each.facts(self.idle_watts), **scenario.facts(each, case)} for name, each in found.items()
            },
            "speedups": {
                name: speedup(scenario, figure, case, found[reference], each)
                for name, each in found.items()
                if name != reference
            },
        }

    def _order(self) -> list[str]:
        return self.shuffle.sample(list(self.contestants), len(self.contestants))

    def _started(self, stack: ExitStack, *, quiet: bool) -> dict[str, Leg]:
        """A fresh process for each contestant. They start at the same time: nothing is timed yet."""
        with ThreadPoolExecutor(len(self.contestants)) as pool:
            started = {
                name: pool.submit(Leg, f"{name} engine", contestant.engine, *self.feeds[name], quiet=quiet)
                for name, contestant in self.contestants.items()
            }
        legs = {name: stack.enter_context(done.result()) for name, done in started.items() if not done.exception()}
        for done in started.values():
            done.result()  # raises, where it failed
        return legs

    def _warm_up(self, seen: InCase, leg: Leg, place: int, before: int | None) -> None:
        protocol = self.protocol
        warm = leg.warm_up(
            window_s=protocol.window_s,
            agree=protocol.agree,
            min_s=protocol.warm_min_s,
            max_s=protocol.warm_max_s,
            case=place,
        )
        seen.steady.append(warm["steady"])
        seen.warm_ns.append(warm["window_medians_ns"][-1])
        seen.series.append([])
        seen.blocks.append([])
        # Until here, the process only loaded the engine and ran it, on inputs of this size or shorter.
        peak = leg.peak_bytes()
        if peak is not None and before is not None:
            seen.peak_bytes.append(max(0, peak - before))
        seen.without_transfers_ns += leg.without_transfers(case=place)

    def _block(self, seen: InCase, leg: Leg, place: int, seed: str) -> None:
        protocol = self.protocol
        budget = Budget(
            seconds=protocol.block_s,
            at_least=ceil(self.scenario.samples(place, seen.warm_ns[-1], protocol) / protocol.blocks),
            limit_s=protocol.measure_max_s / protocol.blocks,
            at_most=MOST,
            seed=seed,
        )
        if protocol.energy_s:
            block = self.scenario.block(leg, place, budget)
        else:
            block = self._metered(seen, leg, place, budget)
        seen.series[-1] += block.ns
        seen.blocks[-1].append(block.facts)

    def _read_energy(self, meter: Meter, legs: Mapping[str, Leg], turns: Turns) -> None:
        """Energy in windows of their own, which are long enough for the sensor, after the idle baseline."""
        seconds = self.protocol.energy_s * slowness(meter)
        if meter.scope != "model":
            self._idle(meter, seconds)
        for name in self._order():
            leg = turns.give(legs[name])
            for place in range(len(self.cases)):
                budget = Budget(seconds=seconds, at_least=1, limit_s=seconds, at_most=10**7, seed="energy")
                self._metered(self.seen[name].cases[place], leg, place, budget)

    def _idle(self, meter: Meter, seconds: float) -> None:
        """The power of the machine while all legs are loaded and sleep: what their work is measured against."""
        time.sleep(PAUSE_S)
        with meter.window() as window:
            time.sleep(seconds)
        if window.energy is None:
            LOG.warning("no idle baseline, so no net energy: %s", plain(window.reason or ""))
        else:
            self.idle_watts = window.energy.watts

    def _metered(self, seen: InCase, leg: Leg, place: int, budget: Budget) -> Block:
        """A block, with its gross joules added to what was seen: the leg does nothing else meanwhile."""
        if self.meter is None or seen.no_energy:
            return self.scenario.block(leg, place, budget)
        with self.meter.window([leg.pid]) as window:
            block = self.scenario.block(leg, place, budget)
        if window.energy is None:
            seen.no_energy = window.reason or "the meter gave no reason"
            LOG.warning("no energy: %s", plain(seen.no_energy))
            return block
        seen.joules += window.energy.joules
        seen.energy_s += window.energy.seconds
        run = len(block.ns) if block.inferences is None else block.inferences
        seen.inferences += run + 1  # with the untimed one before
        seen.energy = {"scope": window.energy.scope, "source": window.energy.source}
        return block
