"""One engine, profiled in a process of its own: nothing of a timed session runs in it, and nothing runs beside it."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgeattn.bench.inputs import Arrays, load_feeds, save_feeds
from edgeattn.bench.leg import Engine
from edgeattn.runtimes import RUNTIMES
from edgeattn.runtimes.base import OperatorTime, Profile
from edgeattn.scratch import scratch
from edgeattn.worker import call

_TIMEOUT_S = 600.0
_SECONDS = 1.5  # of profiled inferences
_LEAST, _MOST = 5, 100


def profile(name: str, engine: Engine, feeds: Arrays) -> Profile | None:
    """The profile of an engine at these inputs. name: of the contestant, for messages. None: its runtime cannot say."""
    with scratch("profile") as folder:
        save_feeds(folder / "feeds.npz", [feeds])
        argument = {
            "root": str(engine.root),
            "folder": str(engine.folder),
            "runtime": engine.runtime,
            "threads": engine.threads,
            "feeds": str(folder / "feeds.npz"),
        }
        found = call("edgeattn.profiling.leg:work", argument, stage=f"profile {name}", timeout_s=_TIMEOUT_S)
    if found is None:
        return None
    operators = tuple(OperatorTime(**{**each, "nodes": tuple(each["nodes"])}) for each in found["operators"])
    return Profile(found["method"], found["graph"], operators, found["inference_ms"])


def work(argument: dict[str, Any]) -> dict[str, Any] | None:
    """The process's side of `profile`."""
    runtime = RUNTIMES[argument["runtime"]]
    root, folder, threads = Path(argument["root"]), Path(argument["folder"]), argument["threads"]
    feeds = load_feeds(Path(argument["feeds"]))[0]
    count = _inferences(runtime.load(root, folder, threads), feeds)
    found = runtime.profile(root, folder, feeds, inferences=count, threads=threads)
    return None if found is None else asdict(found)


def _inferences(session: Any, feeds: Arrays) -> int:
    """How many inferences to profile: as many as fit into the time, by one that is not the first."""
    session.run(feeds)
    begun = time.perf_counter()
    session.run(feeds)
    taken_s = time.perf_counter() - begun
    return max(_LEAST, min(_MOST, round(_SECONDS / max(taken_s, 1e-6))))
