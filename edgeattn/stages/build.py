"""The stage that makes engines of the graphs: every form and method, timed and scored; the best one is kept."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from edgeattn.runtimes import RUNTIMES
from edgeattn.stage import Job
from edgeattn.stages.evidence import bench_lengths, load, task_spec
from edgeattn.stages.export import exported_interface
from edgeattn.stages.target import methods_of
from edgeattn.target import supported


def build(job: Job) -> dict[str, Any]:
    """Quantizes and builds every form of both models, measures all, and keeps the best of each that is accurate."""
    from edgeattn.bench.inputs import bench_feeds
    from edgeattn.export.buckets import fix_length
    from edgeattn.quantize import METHODS
    from edgeattn.quantize.calibration import draw
    from edgeattn.quantize.choice import Candidate, choose
    from edgeattn.quantize.method import Calibrated

    recipe, device, graphs, out = job.recipe, job.device, job.path("export"), job.out
    facts = job.facts("export")
    runtime = supported(device).name
    methods = methods_of(recipe, device)
    interface = exported_interface(facts)
    evaluation = load(graphs / "eval.npz")
    task = task_spec(recipe, evaluation)
    lengths = bench_lengths(recipe, interface)
    longest, batch_size = max(lengths) if lengths else None, recipe.bench.batch_size
    feeds = bench_feeds(interface, evaluation, length=longest, batch_size=batch_size, count=4)
    train, held_out = (load(job.path("data") / f"{part}.npz") for part in ("train", "eval"))
    calibration = {
        method.name: draw(train, held_out, interface, samples=method.options.samples)
        for method in methods
        if isinstance(method.options, Calibrated)
    }
    work = job.work / "candidates"
    shutil.rmtree(work, ignore_errors=True)  # of a run that was killed
    why: dict[str, Any] = {}
    for side in ("efficient", "dense"):
        candidates: list[Candidate] = []
        forms = [form for form in facts["graphs"] if form.startswith(side)]
        wanted = [
            (form, method)
            for form in forms
            for method in methods
            if METHODS[method.name].fused or not form.startswith(f"{side}-fused")
        ]
        for done, (form, method) in enumerate(wanted):
            name = f"{form} {method.name}"
            job.progress.update(done, len(wanted), building=name)
            folder = work / name.replace(" ", "-")
            folder.mkdir(parents=True)
            graph = folder / ("model.onnx" if side == "efficient" else "dense.onnx")
            METHODS[method.name].quantize(
                graphs / f"{form}.onnx", graph,
                cpu=device.cpu, calibration=calibration.get(method.name, ()), options=method.options,
            )  # fmt: skip
            size = sum(file.stat().st_size for file in folder.glob("*.onnx*"))
            for number, configuration in enumerate(RUNTIMES[runtime].configurations(device.cpu)):
                engine = work / "engines" / f"{folder.name}-{number}"
                RUNTIMES[runtime].build(graph, engine, method=method.name, configuration=configuration)
                label = f"{name}, {configuration.name}" if number else name
                candidates.append(Candidate(label, method.name, folder, engine, size))
        chosen, why[side] = choose(
            candidates, runtime=runtime, interface=interface, evaluation=evaluation, task=task, feeds=feeds,
            prefer=recipe.quantize.prefer, what=side,
        )  # fmt: skip
        why[side]["method"] = chosen.method
        _move(chosen.root, out)
        _move(chosen.folder, out / "engine" / side)
        if recipe.export.buckets and interface.length_axis:
            graph = out / ("model.onnx" if side == "efficient" else "dense.onnx")
            buckets = {length: f"{graph.stem}-{length}.onnx" for length in recipe.export.buckets}
            for length, name in buckets.items():
                fix_length(graph, out / name, interface.length_axis, length)
            RUNTIMES[runtime].add_buckets(out / "engine" / side, buckets)
    why["measured_at"] = {"length": longest, "batch_size": batch_size}
    shutil.rmtree(work)
    return {"runtime": runtime, "choice": why, "note": why["efficient"]["because"]}


def _move(folder: Path, to: Path) -> None:
    """Moves the files of `folder` into `to`, which is on the same file system."""
    for file in [path for path in folder.rglob("*") if path.is_file()]:
        target = to / file.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        file.replace(target)
