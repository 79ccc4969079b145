"""A quick, interleaved timing of several engines, to choose settings and methods by."""

from __future__ import annotations

import random
import statistics
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from edgeattn.bench.inputs import Arrays, save_feeds
from edgeattn.bench.leg import Engine, Leg, Turns
from edgeattn.scratch import scratch


def quick_compare(
    engines: Mapping[str, Engine],
    feeds: Sequence[Arrays] | Mapping[str, Sequence[Arrays]],
    *,
    rounds: int = 5,
    block_s: float = 0.2,
    warm_s: float = 0.3,
    seed: int = 0,
) -> dict[str, list[float]]:
    """Milliseconds of one inference: name -> [rounds], each the median of one block.

    feeds: inputs that are used in rotation, the same for all engines or a list for each.
    Each engine has its own process. Each round times all of them in random order, so item i of one list was
    measured within seconds of item i of another and their ratio is meaningful. With only one process per engine,
    the result is good enough to choose by, not to publish.
    """
    order = list(engines)
    shuffle = random.Random(seed)
    latencies: dict[str, list[float]] = {name: [] for name in engines}
    with ExitStack() as stack:
        work = stack.enter_context(scratch("compare"))
        path = work / "feeds.npz"
        if not isinstance(feeds, Mapping):
            save_feeds(path, feeds)
        turns = Turns()
        legs = {}
        for place, (name, engine) in enumerate(engines.items()):
            if isinstance(feeds, Mapping):
                path = work / f"feeds{place}.npz"
                save_feeds(path, feeds[name])
            leg = Leg(f"compare {name}", engine, path)
            legs[name] = stack.enter_context(leg)
            turns.give(leg).load()
            leg.measure(seconds=warm_s)
        for _ in range(rounds):
            shuffle.shuffle(order)
            for name in order:
                series = turns.give(legs[name]).measure(seconds=block_s)
                latencies[name].append(statistics.median(series) / 1e6)
    return latencies
