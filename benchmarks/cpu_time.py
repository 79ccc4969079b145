"""The CPU time of an engine's runs, in a process of its own: python -m benchmarks.cpu_time < request.

On a machine that others use too, a run's latency is theirs as well; its CPU time hardly is.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from time import process_time

from edgeattn.bench.inputs import Arrays, load_feeds, save_feeds
from edgeattn.bench.leg import Engine
from edgeattn.runtimes import RUNTIMES
from edgeattn.scratch import scratch

LEAST_RUNS, LEAST_S = 4, 1.0


def cpu_ms(engine: Engine, feeds: Sequence[Arrays]) -> list[float]:
    """The least CPU time of a run on each of the feeds, in a fresh process."""
    with scratch("cpu-time") as folder:
        save_feeds(folder / "feeds.npz", feeds)
        request = {"root": str(engine.root), "folder": str(engine.folder), "runtime": engine.runtime,
                   "threads": engine.threads, "feeds": str(folder / "feeds.npz")}  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.cpu_time"],
            input=json.dumps(request), stdout=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
    return list(json.loads(done.stdout))


def _least_ms(session: object, feeds: Arrays) -> float:
    found: list[float] = []
    session.run(feeds)  # type: ignore[attr-defined]
    while len(found) < LEAST_RUNS or sum(found) < LEAST_S:
        begun = process_time()
        session.run(feeds)  # type: ignore[attr-defined]
        found.append(process_time() - begun)
    return min(found) * 1e3


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    loaded = RUNTIMES[asked["runtime"]].load(Path(asked["root"]), Path(asked["folder"]), asked["threads"])
    print(json.dumps([_least_ms(loaded, each) for each in load_feeds(Path(asked["feeds"]))]))
