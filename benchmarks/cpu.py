"""MiniLM on this processor, in both runtimes, by all methods. Run: python -m benchmarks.cpu [PART ...]

Parts: cli, speed (8 minutes), int8, demo (10 minutes), ssh (3 minutes, of the demo's bundle; needs a host "loopback"
from `edgeattn hosts add`). Without one, all run. A part that is not run keeps the rows of its last run. The first of
speed and int8 trains for some minutes, and needs the STS Benchmark subset in ../shared/data/stsb_en.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from benchmarks.minilm import RECIPE, REPOSITORY, compile_changed, stage_seconds, stsb_data
from benchmarks.record import Row, run_parts
from edgeattn.bench.compare import Timing, fastest, quick_compare
from edgeattn.bench.inputs import bench_feeds
from edgeattn.bench.leg import Engine
from edgeattn.bench.statistics import ratio
from edgeattn.build.engines import Engines
from edgeattn.build.scoring import Scores
from edgeattn.build.trials import Trial, trials_of
from edgeattn.bundle import Bundle
from edgeattn.devices import fingerprint
from edgeattn.progress import Progress
from edgeattn.recipe import load_recipe, to_document
from edgeattn.recognition import target_here
from edgeattn.store import Store

SESSIONS = 6  # of fresh processes each: the unit of replication of a ratio, for an interval of 96.9 %
METHODS = ["fp32", "int8-dynamic", "int8"]
# Of each side and length, these go into the sessions: what `fastest` finds this close to the fastest one.
CLOSE, MOST = 1.3, 3
VNNI = {"avx512_vnni", "avx_vnni", "amx_int8"}
_WITHOUT_VNNI = {128: None, 512: 1.6, 2048: 3.0}


def cli() -> list[Row]:
    """`edgeattn --help`: the median, which leaves out the first, cold run."""
    command = [str(Path(sys.executable).parent / "edgeattn"), "--help"]
    times = []
    for _ in range(11):
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - started)
    value = statistics.median(times)
    return [Row("edgeattn --help", "wall time", value, "s", goal="< 0.1", holds=value < 0.1)]


def speed() -> list[Row]:
    """Every engine of the trained student and of its dense teacher."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle = _bundle(folder)
        cpu = target_here(bundle).cpu
        goals = {128: None, 512: 1.5, 2048: 2.8} if cpu and set(cpu.instruction_sets) & VNNI else _WITHOUT_VNNI
        trials, engines = _engines(bundle, folder / "engines")
        evaluation = bundle.arrays("eval")
        feeds = {
            length: bench_feeds(bundle.manifest, evaluation, length=length, batch_size=1, count=4) for length in goals
        }
        sides = {name: trial.candidate.side for name, trial in trials.items()}
        timings = fastest(engines, sides, feeds, alone_rounds=1, rounds=3)
        for length, goal in goals.items():
            near = _near(timings, sides, length)
            latencies: dict[str, list[float]] = {name: [] for name in near}
            for session in range(SESSIONS):
                found = quick_compare({name: engines[name] for name in near}, feeds[length], rounds=3, seed=session)
                for name, times in found.items():
                    latencies[name].append(statistics.median(times))
            rows += _rows(length, goal, latencies, sides, timings)
    return rows


def _near(timings: Mapping[str, Timing], sides: Mapping[str, str], length: int) -> list[str]:
    """The fastest engines of each side at this length."""
    found = []
    for side in dict.fromkeys(sides.values()):
        times = {
            name: timings[name].latency_ms[length] for name in sides if sides[name] == side and timings[name].rounds
        }
        ranked = sorted(times, key=times.__getitem__)[:MOST]
        found += [name for name in ranked if times[name] <= CLOSE * times[ranked[0]]]
    return found


def _rows(
    length: int,
    goal: float | None,
    latencies: Mapping[str, list[float]],
    sides: Mapping[str, str],
    timings: Mapping[str, Timing],
) -> Iterator[Row]:
    case, medians = f"MiniLM, N = {length}", {name: statistics.median(times) for name, times in latencies.items()}
    dense, ours = (
        min((name for name in medians if sides[name] == side), key=medians.__getitem__)
        for side in ("dense", "efficient")
    )
    found = ratio(latencies[dense], latencies[ours])
    assert found.low is not None
    assert found.high is not None
    holds = found.high >= 1 if goal is None else found.value >= goal
    wanted = "not measurably slower" if goal is None else f">= {goal}"
    yield Row(case, f"latency, {ours}", medians[ours], "ms", f"best dense: {dense}", medians[dense], found.value,
              wanted, holds)  # fmt: skip
    yield Row(case, f"interval of the ratio, {SESSIONS} sessions, low", found.low, "x")
    yield Row(case, f"interval of the ratio, {SESSIONS} sessions, high", found.high, "x")
    for name in latencies:
        if name not in (dense, ours):
            yield Row(case, f"latency, {name}", medians[name], "ms")
    others = [name for name in timings if name not in latencies]
    for name in sorted(others, key=lambda name: timings[name].latency_ms.get(length, float("inf"))):
        yield Row(case, f"first look, {name}", timings[name].latency_ms.get(length), "ms")


def int8() -> list[Row]:
    """The quantized student beside its fp32, in each runtime."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle = _bundle(folder)
        trials, engines = _engines(bundle, folder / "engines")
        scores = Scores(bundle)
        found = {
            name: scores.of(engines[name], name)["spearman"] or 0.0
            for name, trial in trials.items()
            if trial.candidate.side == "efficient" and trial.configuration.name == "default"
        }
        rows = []
        for name, value in found.items():
            trial = trials[name]
            if trial.candidate.method == "fp32":
                rows.append(Row("STS-B subset, test", f"Spearman, {name}", value, ""))
                continue
            exact = next(
                other
                for other in found
                if trials[other].runtime == "onnxruntime"
                and trials[other].candidate.method == "fp32"
                and trials[other].candidate.form == trial.candidate.form
            )
            share, static = value / found[exact], trial.candidate.method == "int8"
            rows.append(
                Row("STS-B subset, test", f"Spearman, {name}", value, "", exact, found[exact], share,
                    ">= 0.997" if static else None, share >= 0.997 if static else None)
            )  # fmt: skip
        for candidate in bundle.manifest.candidates:
            if candidate.side == "efficient" and candidate.method != "fp32" and candidate.cosine is not None:
                static = candidate.method == "int8"
                rows.append(
                    Row("STS-B subset, test", f"least cosine to the student, golden samples, {candidate.name}",
                        candidate.cosine, "", goal=">= 0.99" if static else None,
                        holds=candidate.cosine >= 0.99 if static else None)
                )  # fmt: skip
    return rows


def demo() -> list[Row]:
    """`make demo` in an installed environment with an empty store, the same again, and with another accuracy floor."""
    with tempfile.TemporaryDirectory() as name:
        cache = Path(name, "cache")
        wall, stages = _timed_demo(cache)
        again = statistics.median(_timed_demo(cache)[0] for _ in range(3))
        started = time.monotonic()
        compile_changed(Path(name), RECIPE, {"accept": {"metric": "teacher_cosine", "of_teacher": 0.9}}, cache=cache)
        floor = time.monotonic() - started
    return [
        Row("make demo, installed", "wall time", wall, "s", goal="<= 480", holds=wall <= 480),
        *[Row("make demo, installed", f"stage {stage}", seconds, "s") for stage, seconds in stages.items()],
        Row(
            "make demo, installed",
            "distillation",
            stages["distill"],
            "s",
            goal="<= 300",
            holds=stages["distill"] <= 300,
        ),
        Row("make demo, installed", "its benchmark", stages["bench"], "s", goal="<= 60", holds=stages["bench"] <= 60),
        Row("make demo again", "wall time", again, "s", goal="< 5", holds=again < 5),
        Row("make demo, another accept floor", "wall time", floor, "s", goal="< 15", holds=floor < 15),
    ]


def _timed_demo(cache: Path) -> tuple[float, dict[str, float]]:
    """Seconds of `make demo`, whole and by stage."""
    return stage_seconds(["make", "demo"], cache)


def ssh() -> list[Row]:
    """The demo's bundle benchmarked here and on the host "loopback", in turn."""
    bundle = REPOSITORY / "build" / RECIPE
    if not bundle.is_dir():
        raise SystemExit(f"{bundle} is not there: run `make demo`")
    times: dict[str, dict[int, list[float]]] = {"local": {}, "loopback": {}}
    for turn in range(4):
        for host in sorted(times, reverse=bool(turn % 2)):
            command = [sys.executable, "-m", "edgeattn", "bench", str(bundle), "--quick", "--json", "--host", host]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            for cell in json.loads(done.stdout)["cells"]:
                found = cell["contestants"]["efficient"]["p50_ms"]
                times[host].setdefault(cell["length"], []).append(found)
    rows = []
    for length, local in times["local"].items():
        there = times["loopback"][length]
        found = ratio(there, local).value
        rows.append(
            Row(f"bench over SSH, loopback, N = {length}", "p50 latency", statistics.median(there), "ms",
                "bench here", statistics.median(local), found, "within 3 %", abs(found - 1) <= 0.03)
        )  # fmt: skip
    return rows


def _bundle(folder: Path) -> Bundle:
    """The candidates of all methods, for up to 2048 tokens. The student has learned from the STS Benchmark's sentences:
    an untrained one does not survive int8. Its training is kept in build/, for the next part and the next run."""
    model = to_document(load_recipe(RECIPE).recipe)["model"]
    changes = {
        "model": {**model, "extend_positions": 2048},
        "data": stsb_data(folder),
        "quantize": {"methods": METHODS},
        "accept": {"metric": "spearman", "of_teacher": 0.9},
        "bench": {"lengths": [128, 512, 2048]},
    }
    compile_changed(folder, "candidates", changes, "--host", "none", cache=REPOSITORY / "build" / "cpu-cache")
    return Bundle.open(folder / "candidates")


def _engines(bundle: Bundle, folder: Path) -> tuple[dict[str, Trial], dict[str, Engine]]:
    """Every candidate in each runtime that is installed here and each of its configurations, by name."""
    target = target_here(bundle)
    found = trials_of(bundle.path, bundle.manifest.candidates, [each.name for each in target.runtimes], target.cpu)
    trials = {trial.name: trial for trial in found}
    maker = Engines(bundle, fingerprint(), Store(folder / "store"), Progress())
    engines = {
        name: maker.make(trial, bundle.path / trial.candidate.folder, folder / str(number))
        for number, (name, trial) in enumerate(trials.items())
    }
    return trials, engines


PARTS: dict[str, Callable[[], list[Row]]] = {"cli": cli, "speed": speed, "int8": int8, "demo": demo, "ssh": ssh}


def main(names: list[str]) -> None:
    notes = [
        "Latency: batch 1, all cores. Every engine has a first look; the fastest of each side then take turns in "
        f"{SESSIONS} interleaved sessions of fresh processes, at each length. The ratio is the Hodges-Lehmann estimate "
        "over sessions, best dense engine / fastest efficient engine, over both runtimes, all methods and all of their "
        "configurations.",
        "N = 2048: position embeddings copied four times.",
        "STS-B: the redistributable subset, whose scores are not comparable with published full STS-B numbers; the "
        "student learns from the train sentences without their scores.",
    ]
    run_parts("cpu", PARTS, names, notes)


if __name__ == "__main__":
    main(sys.argv[1:])
