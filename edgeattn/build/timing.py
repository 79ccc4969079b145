"""Times the trials of a bundle, once for each machine: another floor or another preference times nothing again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeattn.bench.compare import TOGETHER, fastest
from edgeattn.bench.inputs import bench_feeds
from edgeattn.bench.leg import Engine
from edgeattn.build.engines import Engines
from edgeattn.build.trials import Trial
from edgeattn.bundle import Bundle
from edgeattn.errors import EdgeattnError, ResourceError
from edgeattn.progress import Progress
from edgeattn.runtimes import RUNTIMES
from edgeattn.scratch import scratch
from edgeattn.store import Store

ON_A_GPU = 2  # engines that run at once at most: what they take of a GPU's memory is not in that of their processes
FEEDS = 4  # different inputs of each length, used in rotation
Latencies = dict[int | None, float]  # tokens, None without a length -> ms of one inference


@dataclass(frozen=True)
class Timings:
    """latency_ms, failed: by the name of the trial. failed: why it has no latency. eliminated: timed in few blocks."""

    latency_ms: Mapping[str, Latencies]
    failed: Mapping[str, str]
    eliminated: frozenset[str]


def time_trials(
    bundle: Bundle,
    trials: Sequence[Trial],
    engines: Engines,
    machine: Mapping[str, Any],
    store: Store,
    progress: Progress,
) -> Timings:
    """The latencies of all trials, from the store where this machine has timed the same ones before.

    machine: of `edgeattn.devices.fingerprint`. Raises the error of the first trial where none runs.
    """
    spec = bundle.manifest.bench
    reads = {
        "trials": [
            {"name": trial.name, "graph": trial.digests(bundle), "settings": dict(trial.configuration.settings)}
            for trial in trials
        ],
        "inputs": bundle.manifest.files["eval.npz"].sha256,
        "lengths": spec.lengths,
        "batch_size": spec.batch_size,
        "machine": dict(machine),
    }

    def measure(_out: Path, _work: Path) -> dict[str, Any]:
        return _measure(bundle, trials, engines, progress)

    found = store.run("timings", 1, reads=reads, build=measure).meta
    return Timings(
        {
            name: {None if length == "whole" else int(length): ms for length, ms in each.items()}
            for name, each in found["latency_ms"].items()
        },
        found["failed"],
        frozenset(found["eliminated"]),
    )


def _measure(bundle: Bundle, trials: Sequence[Trial], engines: Engines, progress: Progress) -> dict[str, Any]:
    spec, evaluation = bundle.manifest.bench, bundle.arrays("eval")
    feeds = {
        length: bench_feeds(bundle.manifest, evaluation, length=length, batch_size=spec.batch_size, count=FEEDS)
        for length in spec.lengths or (None,)
    }
    failed: dict[str, str] = {}
    with scratch("build") as folder:
        made: dict[str, Engine] = {}
        for number, trial in enumerate(trials):
            progress.update(number, len(trials), building=trial.name)
            try:
                root = bundle.path / trial.candidate.folder
                made[trial.name] = engines.make(trial, root, folder / str(number))
            except EdgeattnError as error:
                remedy = f"; {error.fix}" if isinstance(error, ResourceError) and error.fix else ""
                failed[trial.name] = error.fact + remedy
                if len(failed) == len(trials):
                    raise
        sides = {trial.name: trial.candidate.side for trial in trials}
        compiled = any(RUNTIMES[engine.runtime].compiles for engine in made.values())
        timed = fastest(
            made,
            {name: sides[name] for name in made},
            feeds,
            together=ON_A_GPU if compiled else TOGETHER,
            progress=progress,
        )
    return {
        "latency_ms": {
            name: {"whole" if length is None else str(length): ms for length, ms in timing.latency_ms.items()}
            for name, timing in timed.items()
            if timing.problem is None
        },
        "failed": {**failed, **{name: timing.problem for name, timing in timed.items() if timing.problem is not None}},
        "eliminated": [name for name, timing in timed.items() if timing.eliminated],
    }
