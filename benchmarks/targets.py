"""MiniLM compiled for a Jetson on a machine without one. Run: python -m benchmarks.targets [PART ...]

Parts: compile (with the training, which takes minutes), methods (what fp16 and int8 keep, of the bundle of the last
`compile`). Without one, both run. Whether parsers take graphs is in benchmarks/graph_check.py, how near predictions
come in benchmarks/estimate.py.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks import methods
from benchmarks.minilm import RECIPE, REPOSITORY, stage_seconds
from benchmarks.record import Row, run_parts
from edgeattn.bundle import Bundle

BUNDLE = REPOSITORY / "build" / f"{RECIPE}-jetson"
MOST_SECONDS = 90  # beyond distillation


def compile_for_jetson() -> list[Row]:
    """`edgeattn compile minilm-hedgehog --target jetson` from an empty store: its time, and what was checked."""
    shutil.rmtree(BUNDLE, ignore_errors=True)
    command = [sys.executable, "-m", "edgeattn", "compile", RECIPE, "--target", "jetson", "--out", str(BUNDLE)]
    with tempfile.TemporaryDirectory() as cache:
        wall, stages = stage_seconds(command, Path(cache))
    case = f"compile {RECIPE} --target jetson"
    beyond = wall - stages["distill"]
    rows = [
        Row(case, "wall time", wall, "s"),
        Row(case, "wall time beyond distillation", beyond, "s", goal=f"< {MOST_SECONDS}", holds=beyond < MOST_SECONDS),
        *[Row(case, f"stage {stage}", seconds, "s") for stage, seconds in stages.items()],
    ]
    for candidate in json.loads((BUNDLE / "check.json").read_text())["candidates"]:
        if "tensorrt" not in candidate["runtimes"]:
            continue
        releases = [each for each in candidate["releases"] if each["runtime"] == "tensorrt"]
        passed = sum(each["passed"] for each in releases)
        case, count = f"{RECIPE}, {candidate['name']}", len(releases)
        rows.append(Row(case, "JetPack releases that take it", passed, "", "releases", count, passed / count,
                        ">= 1", passed == count))  # fmt: skip
        trial = candidate["preflight"]
        rows.append(Row(case, f"pre-flight for SM {trial['built_for']}", trial["seconds"], "s",
                        goal="built", holds=trial["passed"]))  # fmt: skip
    return rows


def kept() -> list[Row]:
    """The cosine to fp32 and the task's metric of every method, on held-out text."""
    if not BUNDLE.is_dir():
        raise SystemExit(f"{BUNDLE} is not there: run the part compile")
    return methods.accuracy(Bundle.open(BUNDLE))


PARTS = {"compile": compile_for_jetson, "methods": kept}


def main(names: list[str]) -> None:
    notes = [
        "Nothing here was run on a Jetson. Releases are those of devices/jetson.yaml, checked by rule; the pre-flight "
        "is a strongly typed build by TensorRT for RTX for SM 8.6 in place of 8.7, without a GPU.",
        "fp16 is computed in fp32 with every fp16 result rounded, which is how ONNX Runtime on this processor and a "
        "GPU agree best.",
    ]
    run_parts("targets", PARTS, names, notes)


if __name__ == "__main__":
    main(sys.argv[1:])
