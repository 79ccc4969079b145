"""A quick, interleaved timing of several engines, to choose settings and precisions by."""

from __future__ import annotations

import random
import statistics
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from edgeattn.bench.inputs import Arrays, save_feeds
from edgeattn.bench.leg import Engine, Leg, Turns
from edgeattn.scratch import scratch


def quick_compare(
    candidates: Mapping[str, tuple[Path, Path]],
    feeds: Sequence[Arrays] | Mapping[str, Sequence[Arrays]],
    *,
    runtime: str = "onnxruntime",
    threads: int | None = None,
    rounds: int = 5,
    block_s: float = 0.2,
    warm_s: float = 0.3,
    seed: int = 0,
) -> dict[str, list[float]]:
    """Milliseconds of one inference: candidate -> [rounds], each the median of one block.

    candidates: name -> (engine folder, folder that the engine's graph path starts from).
    feeds: inputs that are used in rotation, the same for all candidates or a list for each.
    Each candidate has its own process. Each round times all of them in random order, so item i of one list was
    measured within seconds of item i of another and their ratio is meaningful. With only one process per candidate,
    the result is good enough to choose by, not to publish.
    """
    order = list(candidates)
    shuffle = random.Random(seed)
    latencies: dict[str, list[float]] = {name: [] for name in candidates}
    with ExitStack() as stack:
        work = stack.enter_context(scratch("compare"))
        path = work / "feeds.npz"
        if not isinstance(feeds, Mapping):
            save_feeds(path, feeds)
        turns = Turns()
        legs = {}
        for place, (name, (folder, root)) in enumerate(candidates.items()):
            if isinstance(feeds, Mapping):
                path = work / f"feeds{place}.npz"
                save_feeds(path, feeds[name])
            leg = Leg(f"compare {name}", Engine(root, folder, runtime, threads), path)
            legs[name] = stack.enter_context(leg)
            turns.give(leg).load()
            leg.measure(seconds=warm_s)
        for _ in range(rounds):
            shuffle.shuffle(order)
            for name in order:
                series = turns.give(legs[name]).measure(seconds=block_s)
                latencies[name].append(statistics.median(series) / 1e6)
    return latencies
