"""False alarms and power of the gate. Run: python -m benchmarks.gate_power [PART ...] [--minutes M]

Parts: simulation (2 minutes: 2000 gates for each of five shapes of noise and several slowdowns, decided by the code
that decides real gates), digits and minilm (real gates on this machine, hours: 100 A/A gates, 100 with 10 % extra work
in the candidate and 100 with 5 %, or as many as fit into M minutes a part), pull_request (the time of one quick gate of
digits-vit). Without one, all run. A part that is not run keeps the rows of its last run; one that was interrupted goes
on. minilm needs the data in ../shared/data/stsb_en.

A machine with several cores can run a part on each: prefix the command with taskset.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.compiled import compiled
from benchmarks.minilm import compile_changed, stsb_data
from benchmarks.record import RESULTS, Row, run_parts
from edgeattn.gate.rule import Rule, Verdict
from edgeattn.gate.sequential import Key, Pair, decide
from edgeattn.store import Store

GATES = 2000
SPREAD = 0.03  # standard deviation of a pair's difference
REAL = 100
EXTRAS = {0: "A/A", 10: "+10 % extra work", 5: "+5 % extra work"}
_KEY = Key(None, "p50")
Noise = Callable[[np.random.Generator, int], np.ndarray]


# --- five shapes of noise: ln(latency) of the processes of each pair, baseline and candidate: [pairs, 2] --------


def gaussian(rng: np.random.Generator, pairs: int) -> np.ndarray:
    """Fresh processes of one engine differ by normal noise."""
    return rng.normal(size=(pairs, 2))


def heavy_tails(rng: np.random.Generator, pairs: int) -> np.ndarray:
    """Student's t with three degrees of freedom: now and then a process is far off, to either side."""
    return rng.standard_t(3, size=(pairs, 2))


def skewed(rng: np.random.Generator, pairs: int) -> np.ndarray:
    """Log-normal, with one process in twenty slowed by several deviations: interruptions only ever slow."""
    slowed = (rng.random((pairs, 2)) < 0.05) * rng.exponential(4.0, size=(pairs, 2))
    return np.exp(0.5 * rng.normal(size=(pairs, 2))) + slowed


def drift(rng: np.random.Generator, pairs: int) -> np.ndarray:
    """A machine that warms up and cools: a random walk over the session, that moves on between the two of a pair.

    Which of them runs first is random, as in a session.
    """
    walk = np.cumsum(rng.normal(size=2 * pairs)).reshape(pairs, 2)
    swapped = rng.random(pairs) < 0.5
    walk[swapped] = walk[swapped, ::-1]
    return walk + 0.5 * rng.normal(size=(pairs, 2))


def bimodal(rng: np.random.Generator, pairs: int) -> np.ndarray:
    """Two clocks: a third of the processes runs at the lower one, the rest of the noise is small."""
    return 3.0 * (rng.random((pairs, 2)) < 1 / 3) + 0.3 * rng.normal(size=(pairs, 2))


SHAPES: dict[str, Noise] = {
    "Gaussian": gaussian,
    "heavy tails (Student's t, 3)": heavy_tails,
    "skewed, with outliers": skewed,
    "drift": drift,
    "two clocks": bimodal,
}


def scale(noise: Noise) -> float:
    """By what a shape is multiplied, so that a pair's difference has the standard deviation 1."""
    return 1 / float(np.std(np.diff(noise(np.random.default_rng(0), 1_000_000), axis=1)))


class Simulated:
    """A `Source` of pairs of one shape of noise, whose candidate is slower by `effect`."""

    def __init__(self, rng: np.random.Generator, noise: Noise, factor: float, effect: float) -> None:
        most = Rule().looks[-1].pairs
        self._differences = iter(np.diff(noise(rng, most), axis=1)[:, 0] * factor + math.log1p(effect))

    def pair(self, wanted: frozenset[Key]) -> Pair:
        return Pair({_KEY: float(next(self._differences))})


def simulate(noise: Noise, effect: float, gates: int = GATES, spread: float = SPREAD) -> tuple[Counter[str], float]:
    """Verdict -> how many of `gates` gates have it, and the mean number of pairs of a first run."""
    rng, factor = np.random.default_rng(0), scale(noise) * spread
    verdicts: Counter[str] = Counter()
    pairs = 0
    for _ in range(gates):
        decisions, _ = decide(lambda _n, _k: Simulated(rng, noise, factor, effect), {_KEY: Rule()})
        verdicts[decisions[_KEY].verdict.value] += 1
        pairs += decisions[_KEY].runs[0].pairs
    return verdicts, pairs / gates


def simulation() -> list[Row]:
    """All shapes; the goals are those of a gate with ignore 1 % and catch 5 %."""
    rows = []
    for name, noise in SHAPES.items():
        for effect in (0.0, 0.01, 0.03, 0.05, 0.10):
            verdicts, pairs = simulate(noise, effect)
            case = f"{name}, {effect:+.0%}, {GATES} gates"
            failed, passed, undecided = (verdicts[each.value] / GATES for each in (Verdict.FAIL, Verdict.PASS,
                                                                                 Verdict.INCONCLUSIVE))  # fmt: skip
            goals = {0.01: ("<= 0.005", failed <= 0.005), 0.05: (">= 0.95", failed >= 0.95)}
            goal, holds = goals.get(effect, (None, None))
            rows.append(Row(case, "FAIL", failed, "share", goal=goal, holds=holds))
            goal, holds = ("<= 0.05", undecided <= 0.05) if effect == 0 else (None, None)
            rows.append(Row(case, "INCONCLUSIVE", undecided, "share", goal=goal, holds=holds))
            rows.append(Row(case, "PASS", passed, "share"))
            rows.append(Row(case, "pairs of the first run", pairs, "pairs"))
    return rows


# --- real gates on this machine ---------------------------------------------------------------------------------


def digits(minutes: float) -> list[Row]:
    """Real gates of digits-vit."""
    with compiled("digits-vit") as bundle:
        return real("digits-vit", bundle, minutes)


def minilm(minutes: float) -> list[Row]:
    """Real gates of a MiniLM bundle, at 128 tokens."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        compile_changed(folder, "minilm", {"data": stsb_data(folder)}, cache=Store.default_root())
        return real("minilm", folder / "minilm", minutes, "--lengths", "128")


def pull_request() -> list[Row]:
    """One quick gate of digits-vit against itself, as a pull request that changes nothing would run it."""
    with compiled("digits-vit") as bundle:
        document = _gate(bundle, 0)
        seconds = document["seconds"]
    return [Row("digits-vit, quick gate", "wall time", seconds, "s", goal="< 300", holds=seconds < 300)]


def real(name: str, bundle: Path, minutes: float, *arguments: str) -> list[Row]:
    """Gates of a bundle against itself, of each kind in turn. Those of an interrupted run are kept and count."""
    until = time.monotonic() + 60 * minutes
    kept = {extra: RESULTS.parent.parent / "build" / f"gate_power-{name}-{extra}.jsonl" for extra in EXTRAS}
    found = {extra: _read(file) for extra, file in kept.items()}
    for number in range(REAL):
        for extra, file in kept.items():
            if len(found[extra]) <= number and time.monotonic() < until:
                found[extra].append(_one(bundle, extra, *arguments))
                with file.open("a") as lines:
                    lines.write(json.dumps(found[extra][-1]) + "\n")
                print(f"   {number + 1}/{REAL}, {EXTRAS[extra]}: {found[extra][-1]}", flush=True)
    return [row for extra in EXTRAS for row in _rows(name, extra, found[extra])]


def _rows(name: str, extra: int, found: list[dict]) -> list[Row]:
    verdicts, count = Counter(each["verdict"] for each in found), len(found)
    if not count:
        return []
    threads = " or ".join(map(str, sorted({each["threads"] for each in found})))
    case = f"{name}, {count} quick gates, {EXTRAS[extra]}, engine threads: {threads}"
    goals = {0: ("0", verdicts["FAIL"] == 0), 10: (f">= {0.95 * count:.4g}", verdicts["FAIL"] >= 0.95 * count)}
    goal, holds = goals.get(extra, (None, None))
    medians = {key: float(np.median([each[key] for each in found])) for key in ("ratio", "seconds")}
    return [
        Row(case, "FAIL", verdicts["FAIL"], "gates", goal=goal, holds=holds),
        Row(case, "INCONCLUSIVE", verdicts["INCONCLUSIVE"], "gates"),
        Row(case, "PASS", verdicts["PASS"], "gates"),
        Row(case, "ratio, median", medians["ratio"], "x"),
        Row(case, "wall time, median", medians["seconds"], "s"),
    ]


def _read(file: Path) -> list[dict]:
    file.parent.mkdir(exist_ok=True)
    return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


def _one(bundle: Path, extra: int, *arguments: str) -> dict[str, float | str]:
    document = _gate(bundle, extra, *arguments)
    row = next(each for each in document["rows"] if each["metric"] == "p50")
    decided_by = [each["metric"] for each in document["rows"] if each["blocking"] and each["verdict"] != "PASS"]
    return {
        "verdict": document["verdict"],
        "threads": document["threads"],
        "ratio": row["ratio"],
        "pairs": row["pairs"],
        "seconds": document["seconds"],
        "decided_by": decided_by,
    }


def _gate(bundle: Path, extra: int, *arguments: str) -> dict:
    command = [sys.executable, "-m", "edgeattn", "gate", str(bundle), "--baseline", str(bundle), "--quick", "--json"]
    done = subprocess.run(
        [*command, "--extra-work", str(extra), *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode not in (0, 1, 3):
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)


def main() -> None:
    """Run the parts that the command line names."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("parts", nargs="*", metavar="PART")
    options.add_argument("--minutes", type=float, default=math.inf, help="Of a part with real gates.")
    given = options.parse_args()
    parts = {
        "simulation": simulation,
        "digits": lambda: digits(given.minutes),
        "minilm": lambda: minilm(given.minutes),
        "pull_request": pull_request,
    }
    shapes = " ".join(f"*{name}*: {(noise.__doc__ or '').splitlines()[0]}" for name, noise in SHAPES.items())
    run_parts(
        "gate_power",
        parts,
        given.parts,
        [
            "A gate fails only if two full runs fail. Ignore 1 %, catch 5 %; looks at 10, 20 and 40 pairs.",
            f"Simulated noise has a standard deviation of {SPREAD:.0%} of a pair's difference. {shapes}",
            "Real gates: a bundle against itself; the extra work is done in each inference of the candidate.",
        ],
    )


if __name__ == "__main__":
    main()
