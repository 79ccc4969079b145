"""Whether `edgeattn bench` can be believed. Run: python -m benchmarks.bench [PART ...]

Parts, each of a few minutes: overhead (outside the timed call), plain_loop (beside a loop that a user would write),
sessions (two of one bundle), quick (the bench at the end of a compile). Without one, all run. They need a quiet
machine. A part that is not run keeps the rows of its last run.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.compiled import compiled
from benchmarks.record import Row, run_parts
from edgeattn.bench.engines import engine_of
from edgeattn.bench.inputs import bench_feeds, save_feeds
from edgeattn.bench.leg import Answers, Leg
from edgeattn.bench.protocol import Protocol
from edgeattn.bench.statistics import ratio
from edgeattn.bundle import Bundle
from edgeattn.devices.probe import usable_threads

RECIPE = "digits-vit"  # its inference takes about 0.2 ms: an overhead that it does not show, no model shows
ROUNDS = 12

# What a user would write: the graph of the bundle, on its own inputs, in a loop.
PLAIN_LOOP = """
import sys, time, numpy, onnxruntime
graph, feeds, threads, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = threads
session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
feed = {key.partition(":")[2]: array for key, array in numpy.load(feeds).items()}
series = []
for _ in range(2 * count):
    start = time.perf_counter_ns()
    session.run(None, feed)
    series.append(time.perf_counter_ns() - start)
print(numpy.median(series[count:]))
"""


class Nothing:
    """A session that computes nothing: all that is timed is the bench itself."""

    def run(self, feeds: Any) -> Any:
        return feeds

    def describe(self) -> dict[str, Any]:
        return {}


def overhead() -> list[Row]:
    """Time per inference of a block that is not in its series, and what the series has of it, without an engine."""
    count = 200_000
    feeds = [{"x": np.zeros(4, np.float32)} for _ in range(8)]
    answers = Answers(Nothing, [feeds])
    outside, inside = [], []
    for _ in range(ROUNDS):
        started_ns = time.perf_counter_ns()
        series = answers.measure(seconds=0.0, at_least=count, limit_s=60.0, at_most=count, case=0)["ns"]
        passed_ns = time.perf_counter_ns() - started_ns
        outside.append((passed_ns - sum(series)) / count)
        inside.append(statistics.median(series))
    value = statistics.median(outside) / 1e3
    return [
        Row(
            "a session that computes nothing",
            "overhead outside the timed call",
            value,
            "us",
            goal="< 1",
            holds=value < 1,
        ),
        Row("a session that computes nothing", "latency that the bench reports", statistics.median(inside) / 1e3, "us"),
    ]


def plain_loop() -> list[Row]:
    """The p50 of a fresh process of the bench beside that of a fresh process with a plain loop, in turn."""
    with compiled(RECIPE) as path, tempfile.TemporaryDirectory() as name:
        bundle = Bundle.open(path)
        engine = engine_of(bundle, "efficient", usable_threads())
        feeds = bench_feeds(bundle.manifest, bundle.arrays("eval"), length=None, batch_size=1, count=1)
        file = Path(name) / "feeds.npz"
        save_feeds(file, feeds)
        protocol, count = Protocol(), 10_000
        ours, plain = [], []

        def timed() -> None:
            with Leg("efficient engine", engine, file) as leg:
                leg.warm_up(window_s=protocol.window_s, agree=protocol.agree, min_s=protocol.warm_min_s,
                            max_s=protocol.warm_max_s)  # fmt: skip
                ours.append(float(np.median(leg.measure(seconds=60, at_most=count))) / 1e6)

        def looped() -> None:
            arguments = [str(bundle.path / bundle.manifest.engines["efficient"].graph), str(file)]
            command = [sys.executable, "-c", PLAIN_LOOP, *arguments, str(engine.threads), str(count)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            plain.append(float(done.stdout) / 1e6)

        shuffle = random.Random(0)
        for _ in range(ROUNDS):
            for each in shuffle.sample([timed, looped], 2):
                each()
    estimate = ratio(ours, plain)
    case = f"{RECIPE} in onnxruntime, {ROUNDS} pairs of fresh processes in turn"
    interval = f" ({estimate.low:.4f} to {estimate.high:.4f})"
    return [
        Row(case + interval, "p50", statistics.median(ours), "ms", "a plain loop", statistics.median(plain),
            estimate.value, "0.98 to 1.02", 0.98 <= estimate.value <= 1.02)
    ]  # fmt: skip


def sessions() -> list[Row]:
    """Two sessions of one bundle, one after the other, by the full protocol."""
    rows = []
    with compiled(RECIPE) as bundle:
        first, second = (_bench(bundle)["cells"][0]["contestants"] for _ in range(2))
        for side in first:
            found = second[side]["p50_ms"] / first[side]["p50_ms"]
            rows.append(Row(f"{RECIPE}, {side}, a second full session", "p50", second[side]["p50_ms"], "ms",
                            "the first session", first[side]["p50_ms"], found, "0.97 to 1.03",
                            0.97 <= found <= 1.03))  # fmt: skip
    return rows


def quick() -> list[Row]:
    """Wall time of the quick bench as the compile of the demo ends with it, on its bundle."""
    with compiled("minilm-hedgehog") as bundle:
        started = time.monotonic()
        _bench(bundle, "--quick")
        seconds = time.monotonic() - started
    return [Row("minilm-hedgehog, quick bench", "wall time", seconds, "s", goal="< 60", holds=seconds < 60)]


def _bench(bundle: Path, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "edgeattn", "bench", str(bundle), "--json", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout))


PARTS = {"overhead": overhead, "plain_loop": plain_loop, "sessions": sessions, "quick": quick}

if __name__ == "__main__":
    run_parts(
        "bench", PARTS, sys.argv[1:], ["Times of one session, in turn; full protocol where nothing else is said."]
    )
