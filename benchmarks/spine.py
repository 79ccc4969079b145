"""Training and accuracy of MiniLM. Run: python -m benchmarks.spine [PART ...]

Parts, each of which takes minutes: distil, accuracy. Without one, both run. A part that is not run keeps the rows of
its last run. `accuracy` needs the STS Benchmark subset in ../shared/data/stsb_en. Speed is in benchmarks/cpu.py.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.minilm import RECIPE, compile_changed, stsb_data
from benchmarks.record import Row, run_parts


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
                checkpoint_every=1000,
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


def accuracy() -> list[Row]:
    """The recipe on the STS Benchmark subset: it learns from the train sentences without their scores."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        changes = {"data": stsb_data(folder), "accept": {"metric": "spearman", "of_teacher": 0.99}}
        started = time.monotonic()
        manifest = compile_changed(folder, f"{RECIPE}-stsb", changes)["manifest"]
        seconds = time.monotonic() - started
        verify = json.loads((folder / f"{RECIPE}-stsb" / "verify.json").read_text())
    teacher = verify["metrics"]["spearman"]["teacher"]
    training = sum(phase["seconds"] for phase in manifest["training"]["distill"].values())
    found = {
        "untrained student": (manifest["training"]["untrained"]["spearman"], None),
        "distilled student": (manifest["training"]["student"]["spearman"], 0.995),
        f"shipped artifact, {manifest['engines']['efficient']['method']}": (
            verify["metrics"]["spearman"]["value"],
            0.99,
        ),
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


def _models(folder: Path) -> tuple[Any, Any, Any, Any, Path]:
    """The recipe, its task, the dense teacher, the converted student, and the root of the recipe's file names."""
    import torch

    from edgeattn.convert import convert, find_layers, make_plan
    from edgeattn.models.teacher import fetch_teacher, load_teacher
    from edgeattn.recipe import load_recipe
    from edgeattn.stages.learn import make_task

    loaded = load_recipe(RECIPE)
    path = folder / "teacher"
    path.mkdir()
    fetch_teacher(loaded.recipe.model, loaded.root, path)
    task = make_task(loaded.recipe, path)
    teacher, student = (load_teacher(path, task) for _ in range(2))
    ones = torch.ones(2, 16, dtype=torch.long)
    example = {"input_ids": 1000 * ones, "attention_mask": ones}
    convert(
        student, make_plan(loaded.recipe.attention, loaded.recipe.reduce, len(find_layers(student, example))), example
    )
    return loaded.recipe, task, teacher, student, loaded.root


PARTS: dict[str, Callable[[], list[Row]]] = {"distil": distil, "accuracy": accuracy}


def main(names: list[str]) -> None:
    notes = [
        "STS-B: the redistributable subset, whose scores are not comparable with published full STS-B numbers; the "
        "student learns from the train sentences without their scores.",
    ]
    run_parts("spine", PARTS, names, notes)


if __name__ == "__main__":
    main(sys.argv[1:])
