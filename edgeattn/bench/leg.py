"""A leg: one engine in one fresh process. `Leg` is the parent's side, `serve` is what runs in the process.

The process imports the runtime and reads its feeds at the start, and loads the engine when it is told to. It
then answers one request after another and sleeps in between, so that another leg can be timed.
"""

from __future__ import annotations

import importlib
import logging
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from edgeattn._worker_child import peak_bytes
from edgeattn.bench.extra_work import Slowed
from edgeattn.bench.inputs import Arrays, load_feeds, save_feeds
from edgeattn.errors import DeviceError
from edgeattn.manifest import DecodeGraph
from edgeattn.runtimes import RUNTIMES
from edgeattn.runtimes.base import DeviceSession, Memory, Session
from edgeattn.runtimes.decoder import open_decoder
from edgeattn.scratch import OTHER_FOLDER, scratch
from edgeattn.store import disk_errors
from edgeattn.worker import Process

TIMEOUT_S = 1800.0  # for one request; the longest is a warm-up of 60 s, whose last inference may be slow
PAUSE_S = 0.05  # ONNX Runtime's threads spin for a while after a run, which would slow the next leg
MOST = 10_000  # inferences per block: a tiny model's would fill memory and bench.json, and show nothing new
WITHOUT_TRANSFERS = 32  # inferences that are also timed on the device alone
# Below this many ticks of the clock, a latency's percentiles are those of the clock.
MIN_TICKS = 50


@dataclass(frozen=True)
class Engine:
    """An engine folder in a bundle, and how to run it. extra_work: see `edgeattn.bench.extra_work`.

    decode: a graph of one token, directly in `root`, that texts are read with in place of an engine folder.
    """

    root: Path
    folder: Path
    runtime: str
    threads: int | None = None
    extra_work: float = 0.0
    decode: DecodeGraph | None = None


class Leg:
    """A fresh process for one engine. Use as a context manager."""

    def __init__(
        self, name: str, engine: Engine, *feeds: Path, quiet: bool = False, timeout_s: float = TIMEOUT_S
    ) -> None:
        """feeds: written by `save_feeds`, one file per case, such as a length. timeout_s: for one request.

        quiet: suppress its warnings, which an earlier leg has logged.
        """
        argument = {
            "root": str(engine.root),
            "folder": str(engine.folder),
            "runtime": engine.runtime,
            "threads": engine.threads,
            "extra_work": engine.extra_work,
            "decode": None if engine.decode is None else engine.decode.model_dump_json(),
            "feeds": [str(path) for path in feeds],
            "quiet": quiet,
        }
        self.name = name
        self._process = Process("edgeattn.bench.leg:serve", argument, stage=f"bench {name}", timeout_s=timeout_s)

    def __enter__(self) -> Leg:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.close()

    @property
    def pid(self) -> int:
        """The process, for a meter that measures single processes."""
        return self._process.pid

    def load(self) -> dict[str, Any]:
        """Load the engine and run it once on the first case: {load_ns, first_run_ns, session}."""
        return self._ask("load")

    def warm_up(self, *, window_s: float, agree: float, min_s: float, max_s: float, case: int = 0) -> dict[str, Any]:
        """Run a case until three window medians in a row agree: {steady, seconds, window_medians_ns}."""
        return self._ask("warm_up", window_s=window_s, agree=agree, min_s=min_s, max_s=max_s, case=case)

    def measure(
        self, *, seconds: float, at_least: int = 1, limit_s: float | None = None, at_most: int = MOST, case: int = 0
    ) -> list[int]:
        """Nanoseconds of single inferences, after an untimed one: for `seconds`, and at least `at_least` inferences.

        case: the place of its feeds. Ends early after `at_most` inferences, or after three once limit_s have passed.
        """
        limit_s = seconds if limit_s is None else limit_s
        found = self._ask("measure", seconds=seconds, at_least=at_least, limit_s=limit_s, at_most=at_most, case=case)
        return list(found["ns"])

    def drive(self, target: str, *, case: int = 0, **parameters: Any) -> dict[str, Any]:
        """The answer of function(session, feeds, **parameters) in the process: a scenario's own way to run an engine.

        target: "edgeattn.module:function". feeds: the inputs of a case, in endless rotation. parameters and the answer
        are JSON.
        """
        return self._ask("drive", target=target, case=case, parameters=parameters)

    def without_transfers(self, *, count: int = WITHOUT_TRANSFERS, case: int = 0) -> list[int]:
        """Nanoseconds of `count` inferences on a device with memory of its own; empty where there is none."""
        return list(self._ask("without_transfers", count=count, case=case)["ns"])

    def peak_bytes(self) -> int | None:
        """Peak resident set of the process until now; None where the system does not report it."""
        return self._ask("peak")["bytes"]  # type: ignore[no-any-return]

    def memory(self, *, case: int = 0) -> Memory:
        """What the engine takes in a case. Runs inferences, and may slow the next."""
        return Memory(**self._ask("memory", case=case))

    def answer(self, feeds: Sequence[Arrays]) -> list[Arrays]:
        """The engine's outputs for feeds of any shape."""
        with scratch("leg") as folder:
            asked, answered = folder / "feeds.npz", folder / "outputs.npz"
            save_feeds(asked, feeds)
            self._ask("answer", feeds=str(asked), to=str(answered))
            return load_feeds(answered)

    def _ask(self, operation: str, **parameters: Any) -> dict[str, Any]:
        return self._process.ask({"op": operation, **parameters})  # type: ignore[no-any-return]


class Turns:
    """Remembers which leg ran last, so that another leg starts only once that one's threads sleep."""

    def __init__(self) -> None:
        self._last: Leg | None = None

    def give(self, leg: Leg) -> Leg:
        """`leg`, after a pause if another leg ran last."""
        if self._last is not leg:
            time.sleep(PAUSE_S)
        self._last = leg
        return leg


def serve(argument: dict[str, Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """The process's side of `Leg`."""
    if argument["quiet"]:
        logging.getLogger("edgeattn").setLevel(logging.ERROR)
    runtime = RUNTIMES[argument["runtime"]]
    runtime.require()  # imports the library, whose memory does not count as the engine's
    cases = [load_feeds(Path(path)) for path in argument["feeds"]]

    def load() -> Session:
        root, threads = Path(argument["root"]), argument["threads"]
        if argument["decode"] is not None:
            return open_decoder(root, DecodeGraph.model_validate_json(argument["decode"]), threads)
        session = runtime.load(root, Path(argument["folder"]), threads)
        return Slowed(session, argument["extra_work"]) if argument["extra_work"] else session

    return Answers(load, cases)


class Answers:
    """Answers the requests of a `Leg`."""

    def __init__(self, load: Callable[[], Session], cases: Sequence[Sequence[Arrays]]) -> None:
        self._load = load
        # Each rotation continues over all requests, so that blocks do not start with the same feed.
        self._cases = [cycle(feeds) for feeds in cases]
        self._first = cases[0][0]
        self._session: Session | None = None

    def __call__(self, request: dict[str, Any]) -> dict[str, Any]:
        parameters = dict(request)
        operations: dict[str, Callable[..., dict[str, Any]]] = {
            "load": self.load,
            "warm_up": self.warm_up,
            "measure": self.measure,
            "drive": self.drive,
            "without_transfers": self.without_transfers,
            "peak": lambda: {"bytes": peak_bytes()},
            "memory": self.memory,
            "answer": self.answer,
        }
        return operations[parameters.pop("op")](**parameters)

    def load(self) -> dict[str, Any]:
        start_ns = time.perf_counter_ns()
        self._session = self._load()
        loaded_ns = time.perf_counter_ns()
        self._session.run(self._first)
        done_ns = time.perf_counter_ns()
        facts = self._session.describe()
        return {"load_ns": loaded_ns - start_ns, "first_run_ns": done_ns - loaded_ns, "session": facts}

    def warm_up(self, window_s: float, agree: float, min_s: float, max_s: float, case: int) -> dict[str, Any]:
        start = time.perf_counter()
        medians: list[float] = []
        steady = False
        while not steady and time.perf_counter() - start < max_s:
            medians.append(statistics.median(self._timed(case, window_s, 1, window_s, MOST)))
            last = medians[-3:]
            agreed = len(last) == 3 and max(last) <= min(last) * (1 + agree)
            steady = agreed and time.perf_counter() - start >= min_s
        return {"steady": steady, "seconds": time.perf_counter() - start, "window_medians_ns": medians}

    def measure(self, seconds: float, at_least: int, limit_s: float, at_most: int, case: int) -> dict[str, Any]:
        self._loaded().run(next(self._cases[case]))  # untimed: it wakes the process and fills its caches
        series = self._timed(case, seconds, at_least, limit_s, at_most)
        tick_ns = max(1.0, time.get_clock_info("perf_counter").resolution * 1e9)
        if statistics.median(series) < MIN_TICKS * tick_ns:
            raise DeviceError(
                f"one inference takes {statistics.median(series):.0f} ns, too short for this clock",
                where=f"a tick of {tick_ns:.0f} ns",
                fix="time it with a larger batch size",
            )
        return {"ns": series}

    def drive(self, target: str, case: int, parameters: dict[str, Any]) -> dict[str, Any]:
        module, _, name = target.partition(":")
        function = getattr(importlib.import_module(module), name)
        return function(self._loaded(), self._cases[case], **parameters)  # type: ignore[no-any-return]

    def without_transfers(self, count: int, case: int) -> dict[str, Any]:
        session = self._loaded()
        if not isinstance(session, DeviceSession):
            return {"ns": []}
        return {"ns": [session.without_transfers_ns(next(self._cases[case])) for _ in range(count)]}

    def memory(self, case: int) -> dict[str, Any]:
        return asdict(self._loaded().memory(next(self._cases[case])))

    def answer(self, feeds: str, to: str) -> dict[str, Any]:
        buffers: dict[tuple[Any, ...], Arrays] = {}
        outputs = []
        for feed in load_feeds(Path(feeds)):
            # Feeds of one shape share one buffer, to expose an engine that caches by address.
            shape = tuple((name, array.shape, array.dtype.str) for name, array in feed.items())
            buffer = buffers.setdefault(shape, {name: np.empty_like(array) for name, array in feed.items()})
            for name, array in feed.items():
                np.copyto(buffer[name], array)
            found = self._loaded().run(buffer)
            outputs.append({name: np.array(array) for name, array in found.items()})
        with disk_errors(Path(to).parent, OTHER_FOLDER):
            save_feeds(Path(to), outputs)
        return {}

    def _timed(self, case: int, seconds: float, at_least: int, limit_s: float, at_most: int) -> list[int]:
        series: list[int] = []
        start_ns = time.perf_counter_ns()
        while True:
            feed = next(self._cases[case])
            session = self._loaded()
            before_ns = time.perf_counter_ns()
            session.run(feed)
            after_ns = time.perf_counter_ns()
            series.append(after_ns - before_ns)
            passed_s = (after_ns - start_ns) / 1e9
            enough = len(series) >= at_most or (passed_s >= seconds and len(series) >= at_least)
            if enough or (passed_s >= limit_s and len(series) >= min(3, at_least)):
                return series

    def _loaded(self) -> Session:
        if self._session is None:
            self.load()
        assert self._session is not None
        return self._session
