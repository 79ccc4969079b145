"""The main figures of edgeattn: command, training, speed, accuracy. Run: python -m benchmarks.spine [PART ...]

Parts, each of which takes minutes: cli, distil, speed, accuracy, demo. Without one, all of them run. A part that is
not run keeps the rows of its last run. `accuracy` needs the STS Benchmark subset in ../shared/data/stsb_en.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import Row, run_parts
from edgeattn.bench.compare import quick_compare
from edgeattn.bench.leg import Engine
from edgeattn.bench.statistics import ratio

REPOSITORY = Path(__file__).resolve().parent.parent
STSB = REPOSITORY.parent / "shared" / "data" / "stsb_en"
RECIPE = "minilm-hedgehog"
SESSIONS = 8  # of fresh processes each: the unit of replication of a speed ratio


def cli() -> list[Row]:
    """`edgeattn --help`: the median, which leaves out the first, cold run."""
    command = [str(Path(sys.executable).parent / "edgeattn"), "--help"]
    times = []
    for _ in range(11):
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - started)
    value = statistics.median(times)
    return [Row("edgeattn --help", "wall time", value, "s", goal="< 0.25", holds=value < 0.25)]


def distil() -> list[Row]:
    """Model FLOPs per second of end-to-end distillation, beside the GEMM rate of the same session."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from edgeattn.data.load import load_rows
    from edgeattn.distill.batching import Unpadded
    from edgeattn.distill.train import Objective, train

    with tempfile.TemporaryDirectory() as folder:
        recipe, task, teacher, student, root = _models(Path(folder))
        samples = task.encode(load_rows(recipe.data.train, root), held_out=False)
        feeds = task.collate(samples, slice(0, 32))

        def loss(feeds: Any) -> torch.Tensor:
            with torch.no_grad():
                target = task.forward(teacher, feeds)
            return task.distillation_loss(task.forward(student, feeds), target, feeds)

        teacher.requires_grad_(False)
        with FlopCounterMode(display=False) as counter:
            loss(feeds).backward()
        per_token = counter.get_total_flops() / feeds["input_ids"].numel()
        rates, gemms = [], []
        phase = recipe.distill.finetune
        for attempt in range(3):
            gemms.append(_gemm_flops())
            objective = Objective(student, loss)
            facts = train(
                "distillation", objective, Unpadded(samples, task), Path(folder) / f"work{attempt}",
                steps=25, learning_rate=1e-5, batch_size=phase.batch_size, seed=attempt,
                checkpoint_every=1000, by_length=True,
            )  # fmt: skip
            # Only attended tokens count: work on padding is of no use.
            rates.append(facts["tokens"] * per_token / facts["seconds"])
        gemms.append(_gemm_flops())
    rate, gemm = statistics.median(rates) / 1e9, statistics.median(gemms) / 1e9
    return [
        Row("distillation, end to end", "model FLOP rate", rate, "GFLOP/s", "fp32 GEMM 2048 in torch", gemm,
            rate / gemm, ">= 0.5", rate / gemm >= 0.5)
    ]  # fmt: skip


def _gemm_flops() -> float:
    import torch

    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    a @ b
    started = time.perf_counter()
    for _ in range(10):
        a @ b
    return 10 * 2 * 2048**3 / (time.perf_counter() - started)


def speed() -> list[Row]:
    """The efficient graph against every dense form of the same teacher. Speed only: nothing is trained."""
    from edgeattn.convert import convert
    from edgeattn.devices import load_device
    from edgeattn.export.onnx import PREFERRED_OPSET, export, save
    from edgeattn.export.rewrite import rewrite
    from edgeattn.quantize import METHODS
    from edgeattn.runtimes import RUNTIMES

    rows = []
    cpu, runtime = load_device("cpu").cpu, RUNTIMES["onnxruntime"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _, task, teacher, student, _ = _models(folder, positions=2048)
        example = {"input_ids": _ids(2, 64), "attention_mask": _ones(2, 64)}
        convert(teacher, (), example)
        fused = frozenset({"com.microsoft::MultiHeadAttention"})
        forms = {"efficient": (student, frozenset()), "dense": (teacher, frozenset()), "dense fused": (teacher, fused)}
        graphs: dict[str, Path] = {}
        for form, (model, operators) in forms.items():
            graph, _ = export(
                task.exportable(model), example, task.dynamic_dims(),
                opset=PREFERRED_OPSET, limits={"sequence": (1, 2048)}, operators=operators,
            )  # fmt: skip
            rewrite(graph)
            plain = folder / form.replace(" ", "-")
            plain.mkdir()
            save(graph, plain / "model.onnx")
            for method in ("fp32", "int8-dynamic"):
                graphs[f"{form} {method}"] = plain / method / "model.onnx"
                graphs[f"{form} {method}"].parent.mkdir()
                METHODS[method].quantize(
                    plain / "model.onnx", graphs[f"{form} {method}"],
                    cpu=cpu, calibration=(), options=METHODS[method].Options(),
                )  # fmt: skip
        for length, goal in ((128, None), (512, 1.5), (2048, 2.7)):
            feeds = [{"input_ids": _ids(1, length).numpy(), "attention_mask": _ones(1, length).numpy()}]
            candidates = {}
            for form, path in graphs.items():
                for number, configuration in enumerate(runtime.configurations(cpu)):
                    folder = path.parent / f"engine-{length}-{number}"
                    runtime.build(path, folder, method=form.split()[-1], configuration=configuration)
                    name = f"{form}, {configuration.name}" if number else form
                    candidates[name] = Engine(path.parent, folder, runtime.name)
            latencies: dict[str, list[float]] = {form: [] for form in candidates}
            for session in range(SESSIONS):
                for form, times in quick_compare(candidates, feeds, rounds=3, seed=session).items():
                    latencies[form].append(statistics.median(times))
            medians = {form: statistics.median(times) for form, times in latencies.items()}
            dense = min((form for form in medians if form.startswith("dense")), key=medians.__getitem__)
            ours = min((form for form in medians if form.startswith("efficient")), key=medians.__getitem__)
            found = ratio(latencies[dense], latencies[ours])
            rows.append(
                Row(
                    f"MiniLM, N = {length}", f"latency, {ours}", medians[ours], "ms", f"best dense: {dense}",
                    medians[dense], found.value, f">= {goal}" if goal else None,
                    found.value >= goal if goal else None,
                )
            )  # fmt: skip
            rows.append(
                Row(f"MiniLM, N = {length}", f"interval of the ratio, {SESSIONS} sessions, low", found.low, "x")
            )
            rows.append(
                Row(f"MiniLM, N = {length}", f"interval of the ratio, {SESSIONS} sessions, high", found.high, "x")
            )
            rows += [
                Row(f"MiniLM, N = {length}", f"latency, {form}", median, "ms")
                for form, median in medians.items()
                if form not in (ours, dense)
            ]
    return rows


def accuracy() -> list[Row]:
    """The recipe on the STS Benchmark subset: it learns from the train sentences without their scores."""
    if not STSB.is_dir():
        raise SystemExit(f"{STSB} is not there: the accuracy part needs it")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for split in ("train", "test"):
            shutil.copyfile(STSB / f"sts-{split}.tsv.gz", folder / f"sts-{split}.tsv.gz")
        recipe = folder / f"{RECIPE}-stsb.yaml"
        recipe.write_text(json.dumps(_stsb_recipe()))  # JSON is YAML
        started = time.monotonic()
        document = _compile([str(recipe)], folder / "cache", folder / "bundle")
        seconds = time.monotonic() - started
        verify = json.loads((folder / "bundle" / "verify.json").read_text())
        choice = document["manifest"]["choice"]
    teacher = verify["metrics"]["spearman"]["teacher"]
    training = sum(phase["seconds"] for phase in choice["distill"].values())
    found = {
        "untrained student": (choice["untrained"]["spearman"], None),
        "distilled student": (choice["student"]["spearman"], 0.995),
        f"shipped artifact, {choice['efficient']['method']}": (verify["metrics"]["spearman"]["value"], 0.99),
    }
    rows = [Row("STS-B subset, test", "Spearman, teacher", teacher, "")]
    rows += [
        Row("STS-B subset, test", f"Spearman, {who}", value, "", "teacher", teacher, value / teacher,
            f">= {goal} of the teacher" if goal else None, value / teacher >= goal if goal else None)
        for who, (value, goal) in found.items()
    ]  # fmt: skip
    rows.append(Row("STS-B subset", "training time", training, "s", goal="<= 900", holds=training <= 900))
    rows.append(Row("STS-B subset", "whole compile", seconds, "s"))
    return rows


def demo() -> list[Row]:
    """`make demo` in an installed environment, with an empty store and then again."""
    with tempfile.TemporaryDirectory() as cache:
        times = []
        for _ in range(6):
            started = time.monotonic()
            subprocess.run(["make", "demo"], cwd=REPOSITORY, env={**os.environ, "EDGEATTN_CACHE": cache}, check=True)
            times.append(time.monotonic() - started)
    manifest = json.loads((REPOSITORY / "build" / RECIPE / "bundle.json").read_text())
    training = sum(phase["seconds"] for phase in manifest["choice"]["distill"].values())
    again = statistics.median(times[1:])
    return [
        Row("make demo, installed", "wall time", times[0], "s", goal="<= 480", holds=times[0] <= 480),
        Row("make demo, installed", "distillation", training, "s", goal="<= 300", holds=training <= 300),
        Row("make demo again", "wall time", again, "s", goal="< 5", holds=again < 5),
    ]


def _compile(arguments: list[str], cache: Path, out: Path) -> dict[str, Any]:
    """Runs `edgeattn compile` as a user would and returns the document of its --json."""
    done = subprocess.run(
        [sys.executable, "-m", "edgeattn", "compile", *arguments, "--out", str(out), "--json"],
        env={**os.environ, "EDGEATTN_CACHE": str(cache)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return dict(json.loads(done.stdout))


def _stsb_recipe() -> dict[str, Any]:
    from edgeattn.recipe import load_recipe, to_document

    recipe = to_document(load_recipe(RECIPE).recipe)
    names = ["genre", "file", "year", "id", "score", "sentence1", "sentence2", "source1", "source2"]
    columns = {"text": "sentence1", "text_pair": "sentence2"}
    source = {"names": names, "quoting": False}
    recipe["name"] += "-stsb"
    recipe["data"] = {
        "train": {**source, "source": "sts-train.tsv.gz", "columns": columns},
        "eval": {**source, "source": "sts-test.tsv.gz", "columns": {**columns, "score": "score"}},
    }
    recipe["accept"] = {"metric": "spearman", "of_teacher": 0.99}
    return recipe


def _models(folder: Path, positions: int | None = None) -> tuple[Any, Any, Any, Any, Path]:
    """The recipe, its task, the dense teacher, the converted student, and the root of the recipe's file names."""
    from edgeattn.convert import convert, find_layers, make_plan
    from edgeattn.models.teacher import fetch_teacher, load_teacher
    from edgeattn.recipe import load_recipe
    from edgeattn.stages.learn import make_task

    loaded = load_recipe(RECIPE)
    path = folder / "teacher"
    path.mkdir()
    fetch_teacher(loaded.recipe.model, loaded.root, path)
    task = make_task(loaded.recipe, path)
    teacher, student = (load_teacher(path, task, extend_positions=positions) for _ in range(2))
    example = {"input_ids": _ids(2, 16), "attention_mask": _ones(2, 16)}
    convert(
        student, make_plan(loaded.recipe.attention, loaded.recipe.reduce, len(find_layers(student, example))), example
    )
    return loaded.recipe, task, teacher, student, loaded.root


def _ids(batch: int, length: int) -> Any:
    import torch

    return torch.from_numpy(np.random.default_rng(length).integers(1000, 20000, (batch, length)))


def _ones(batch: int, length: int) -> Any:
    import torch

    return torch.ones(batch, length, dtype=torch.long)


PARTS: dict[str, Callable[[], list[Row]]] = {
    "cli": cli,
    "distil": distil,
    "speed": speed,
    "accuracy": accuracy,
    "demo": demo,
}


def main(names: list[str]) -> None:
    notes = [
        "Latency: medians of blocks in fresh processes of ONNX Runtime on the CPU, batch 1, all cores, "
        f"{SESSIONS} interleaved sessions; the ratio is the Hodges-Lehmann estimate over sessions.",
        "N = 2048: position embeddings copied four times, for speed alone. The dense forms: plain and fused "
        "(com.microsoft MultiHeadAttention), fp32 and dynamic int8, each tuned like the efficient one.",
        "STS-B: the redistributable subset, whose scores are not comparable with published full STS-B numbers; the "
        "student learns from the train sentences without their scores.",
    ]
    run_parts("spine", PARTS, names, notes)


if __name__ == "__main__":
    main(sys.argv[1:])
