"""The body of each stage of `edgeattn.pipeline`: reads its inputs' files, calls its room, writes its own files.

Every function gets plain folders: those of its inputs, read-only, and `out`, which it fills. It returns facts of
what it made, small enough for JSON, with a `note` for the terminal.
"""

from __future__ import annotations

import logging
import math
import shutil
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeattn.bundle import BenchSpec, Bundle, EngineRef, Manifest, TaskSpec, TensorSpec, write
from edgeattn.devices import DeviceProfile
from edgeattn.errors import DeviceError, RecipeError, VerificationError
from edgeattn.metrics import score
from edgeattn.progress import Progress
from edgeattn.recipe.schema import NewViT, Recipe
from edgeattn.registry import did_you_mean
from edgeattn.runtimes import RUNTIMES
from edgeattn.stage import versions
from edgeattn.store import Artifact, sha256_file, write_json

if TYPE_CHECKING:  # torch and transformers are imported by the stages that run, not by a run from the store
    from edgeattn.tasks import Task

LOG = logging.getLogger("edgeattn")
GOLDEN_SAMPLES = 8
_FUSED_DENSE = "com.microsoft::MultiHeadAttention"


def require_runtime(device: DeviceProfile) -> str:
    """The device's runtime that is installed here. Raises DeviceError where none is."""
    for support in device.runtimes:
        if support.name in RUNTIMES and RUNTIMES[support.name].version() is not None:
            return support.name
    names = " or ".join(support.name for support in device.runtimes)
    raise DeviceError(f"no runtime for {device.name}: it needs {names}", fix="run `edgeattn doctor`")


def lowering(device: DeviceProfile) -> dict[str, Any]:
    """What of the target decides how graphs are written: its runtime and opsets."""
    name = require_runtime(device)
    support = next(support for support in device.runtimes if support.name == name)
    return {"runtime": name, "opset": list(support.opset)}


def make_task(recipe: Recipe, teacher: Path) -> Task:
    """The recipe's task, with what it needs of the teacher's folder."""
    from edgeattn.tasks import TASKS

    return TASKS[recipe.task.kind](recipe.task, teacher)


def teacher_digest(recipe: Recipe, root: Path) -> str:
    """What of the teacher's source, beside the recipe's words, decides what it is. Raises ModelError for none."""
    if isinstance(recipe.model, NewViT):
        return "new"
    if recipe.model.source.startswith("hub:"):
        return f"{recipe.model.source}@{recipe.model.revision}"
    from edgeattn.models.checks import check_files
    from edgeattn.models.locate import FILES, locate

    folder = locate(recipe.model, root)
    check_files(folder)
    return ", ".join(f"{name} {sha256_file(folder / name)}" for name in FILES if (folder / name).is_file())


def teacher(recipe: Recipe, root: Path, out: Path, work: Path, progress: Progress) -> dict[str, Any]:
    """Copies a pretrained teacher's checked files, or trains a new one."""
    from edgeattn.models.new import new_teacher
    from edgeattn.models.teacher import fetch_teacher

    if isinstance(recipe.model, NewViT):
        return new_teacher(recipe.model, recipe, root, out, work, progress)
    digest = fetch_teacher(recipe.model, root, out)
    return {"digest": digest, "note": f"{recipe.model.source}, {digest[7:19]}"}


def data(recipe: Recipe, root: Path, teacher: Path, out: Path) -> dict[str, Any]:
    """Encodes what is learned from and what is held out: train.npz and eval.npz."""
    from edgeattn.data.load import load_rows

    task = make_task(recipe, teacher)
    learn, held_out = load_rows(recipe.data.train, root), load_rows(recipe.data.eval, root)
    longest = recipe.distill.max_length if recipe.distill else None
    train = task.encode(learn, held_out=False, max_length=longest)
    evaluation = task.encode(held_out, held_out=True)
    shared = task.overlap(train, evaluation)
    count = len(evaluation[task.inputs[0]])
    if shared:
        LOG.warning("%d of %d held-out samples are in the training data too", shared, count)
    _save(out / "train.npz", train)
    _save(out / "eval.npz", evaluation)
    return {"train": len(train[task.inputs[0]]), "eval": count, "shared": shared}


def student(recipe: Recipe, teacher: Path, data: Path, out: Path) -> dict[str, Any]:
    """Puts the plan's variants into a copy of the teacher; nothing is trained yet."""
    from edgeattn.convert import convert, find_layers, make_plan
    from edgeattn.models.student import save_student
    from edgeattn.models.teacher import load_teacher

    task = make_task(recipe, teacher)
    model = load_teacher(teacher, task, extend_positions=_positions(recipe))
    evaluation = _load(data / "eval.npz")
    example = task.example(evaluation)
    layers = len(find_layers(model, example))
    plan = make_plan(recipe.attention, layers)
    dense = task.run(task.exportable(model), evaluation)
    convert(model, plan, example)
    save_student(model, plan, out)
    scores = _scores(task, task.run(task.exportable(model), evaluation), dense, evaluation)
    swapped = [choice.document() for choice in plan]
    new = sum(choice["variant"] != "dense" for choice in swapped)
    shown = ", ".join(f"{name} {value:.4f}" for name, value in scores.items())
    note = f"{new} of {layers} layers have new attention; untrained: {shown}"
    return {"plan": swapped, "layers": layers, "scores": scores, "note": note}


def distil(
    recipe: Recipe, teacher: Path, data: Path, student: Path, out: Path, work: Path, progress: Progress
) -> dict[str, Any]:
    """Trains the student; without a `distill` part it stays as it is."""
    if recipe.distill is None:
        shutil.copytree(student, out, dirs_exist_ok=True)
        return {"phases": {}, "note": "the recipe has no distill part"}
    from edgeattn.convert import plan_of
    from edgeattn.distill import distill
    from edgeattn.models.student import load_student, save_student
    from edgeattn.models.teacher import load_teacher

    task = make_task(recipe, teacher)
    samples = _load(data / "train.npz")
    example = task.example(_load(data / "eval.npz"))
    model = load_student(student, task, example)
    dense = load_teacher(teacher, task, extend_positions=_positions(recipe))
    facts = distill(model, dense, task, samples, recipe.distill, work, progress)
    save_student(model, plan_of(model.config), out)
    steps = " and ".join(f"{phase['steps']} steps of {name}" for name, phase in facts.items())
    return {"phases": facts, "note": steps or "nothing to train"}


def export(
    recipe: Recipe,
    device: DeviceProfile,
    teacher: Path,
    data: Path,
    student: Path,
    out: Path,
    progress: Progress,
) -> dict[str, Any]:
    """Writes the efficient graph, the dense graph of the same teacher plain and fused, and their golden arrays."""
    from edgeattn.convert import convert
    from edgeattn.export import PREFERRED_OPSET, check_graph, rewrite, save
    from edgeattn.export import export as to_onnx
    from edgeattn.models.student import load_student
    from edgeattn.models.teacher import load_teacher

    task = make_task(recipe, teacher)
    evaluation = _load(data / "eval.npz")
    example = task.example(evaluation)
    low, high = lowering(device)["opset"]
    opset = recipe.export.opset or min(PREFERRED_OPSET, high)
    if not low <= opset <= high:
        raise RecipeError(f"opset {opset} is not one that {device.name} runs: {low} to {high}", where="export.opset")
    efficient = load_student(student, task, example)
    dense = load_teacher(teacher, task, extend_positions=_positions(recipe))
    outputs = {name: task.run(task.exportable(model), evaluation) for name, model in
               (("student", efficient), ("teacher", dense))}  # fmt: skip
    convert(dense, (), example)
    limit = getattr(dense.config, "max_position_embeddings", None)
    forms = {"efficient": (efficient, frozenset[str]()), "dense": (dense, frozenset[str]())}
    if lowering(device)["runtime"] == "onnxruntime":
        forms["dense-fused"] = (dense, frozenset({_FUSED_DENSE}))
    facts: dict[str, Any] = {"opset": opset, "graphs": {}, "max_length": limit}
    for done, (name, (model, operators)) in enumerate(forms.items()):
        progress.update(done, len(forms), graph=name)
        graph, manifest = to_onnx(
            task.exportable(model), example, task.dynamic_dims(),
            opset=opset, max_length=limit, operators=operators,
        )  # fmt: skip
        fired = rewrite(graph)
        save(graph, out / f"{name}.onnx")
        facts["graphs"][name] = {**check_graph(out / f"{name}.onnx"), "rewrites": fired}
        if name == "efficient":
            write_json(out / "export.json", manifest)
    efficient.config.save_pretrained(out)
    for file in task.processor_files(teacher):
        shutil.copyfile(file, out / file.name)
    _save_evidence(task, evaluation, outputs, out)
    facts["scores"] = _scores(task, outputs["student"], outputs["teacher"], evaluation)
    facts["inputs"], facts["outputs"] = _tensors(task, evaluation, outputs["student"])
    nodes = facts["graphs"]["efficient"]["nodes"]
    return {**facts, "note": f"opset {opset}, {nodes} nodes"}


def build(
    recipe: Recipe,
    device: DeviceProfile,
    graphs: Path,
    facts: dict[str, Any],
    out: Path,
    work: Path,
    progress: Progress,
) -> dict[str, Any]:
    """Quantizes and builds every form of both models, measures them, and keeps the best right one of each."""
    from edgeattn.bench.inputs import bench_feeds
    from edgeattn.quantize import Candidate, choose, quantize

    runtime = require_runtime(device)
    support = next(support for support in device.runtimes if support.name == runtime)
    precisions = [name for name in recipe.quantize.precisions if name in support.precisions]
    if not precisions:
        raise RecipeError(
            f"{device.name} runs {', '.join(support.precisions)}, none of the recipe's",
            where="quantize.precisions",
        )
    inputs = tuple(TensorSpec.model_validate_json(text) for text in facts["inputs"])
    evaluation = _load(graphs / "eval.npz")
    spec, task = bench_spec(recipe, facts), task_spec(recipe, evaluation)
    longest = max(spec.lengths) if spec.lengths else None
    feeds = bench_feeds(inputs, evaluation, length=longest, batch_size=spec.batch_size, count=4)
    work = work / "candidates"
    shutil.rmtree(work, ignore_errors=True)  # of a run that was killed
    why: dict[str, Any] = {}
    for side, forms in (("efficient", ["efficient"]), ("dense", ["dense", "dense-fused"])):
        candidates: list[Candidate] = []
        for form in (form for form in forms if form in facts["graphs"]):
            for precision in precisions:
                name = f"{form} {precision}"
                progress.update(len(candidates), len(forms) * len(precisions), building=name)
                folder = work / name.replace(" ", "-")
                folder.mkdir(parents=True)
                graph = folder / ("model.onnx" if side == "efficient" else "dense.onnx")
                quantize(graphs / f"{form}.onnx", graph, precision, device.cpu)
                engine = folder / "engine" / side
                engine.mkdir(parents=True)
                RUNTIMES[runtime].build(graph, engine, precision=precision, feeds=feeds[0])
                size = sum(file.stat().st_size for file in folder.glob("*.onnx*"))
                candidates.append(Candidate(name, precision, folder, engine, size))
        chosen, why[side] = choose(
            candidates, runtime=runtime, inputs=inputs, evaluation=evaluation, task=task, feeds=feeds,
            prefer=recipe.quantize.prefer, what=side,
        )  # fmt: skip
        why[side]["precision"] = chosen.precision
        shutil.copytree(chosen.root, out, dirs_exist_ok=True)
    why["measured_at"] = {"length": longest, "batch_size": spec.batch_size}
    shutil.rmtree(work)
    return {"runtime": runtime, "choice": why, "note": why["efficient"]["because"]}


def assemble(
    recipe: Recipe,
    document: dict[str, Any],
    device: DeviceProfile,
    teacher: Artifact,
    student: Artifact,
    trained: Artifact,
    graphs: Artifact,
    engines: Artifact,
    out: Path,
) -> dict[str, Any]:
    """Lays the bundle's folder out and writes its manifest."""
    for file in graphs.path.iterdir():
        if ".onnx" not in file.name:
            shutil.copyfile(file, out / file.name)
    shutil.copytree(engines.path, out, dirs_exist_ok=True)
    runtime, choice = engines.meta["runtime"], engines.meta["choice"]
    references = {
        side: EngineRef(runtime=runtime, path=f"engine/{side}", graph=graph, precision=choice[side]["precision"])
        for side, graph in (("efficient", "model.onnx"), ("dense", "dense.onnx"))
    }
    manifest = Manifest(
        name=recipe.name,
        description=recipe.description,
        created_utc=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        recipe=document,
        plan=student.meta["plan"],
        target=device.model_dump(mode="json"),
        inputs=tuple(TensorSpec.model_validate_json(text) for text in graphs.meta["inputs"]),
        outputs=tuple(TensorSpec.model_validate_json(text) for text in graphs.meta["outputs"]),
        task=task_spec(recipe, _load(graphs.path / "eval.npz")),
        bench=bench_spec(recipe, graphs.meta),
        engines=references,
        provenance={
            "teacher": sha256_file(teacher.path / "model.safetensors"),
            "student": sha256_file(trained.path / "model.safetensors"),
            "graph": sha256_file(out / "model.onnx"),
            "engine": sha256_file(out / "engine" / "efficient" / "engine.json"),
        },
        libraries=versions("torch", "transformers", "onnx", "onnxscript", "onnxruntime"),
        choice={
            **choice,
            "distill": trained.meta["phases"],
            "untrained": student.meta["scores"],
            "student": graphs.meta["scores"],
        },
    )
    bundle = write(out, manifest)
    size = sum(entry.bytes for entry in bundle.manifest.files.values())
    return {"note": f"{len(bundle.manifest.files)} files, {size / 1e6:.0f} MB"}


def verify(bundle: Path, out: Path) -> dict[str, Any]:
    """Checks the built engine against student and teacher. Raises VerificationError where it fails."""
    from edgeattn.bench.accuracy import check

    document = check(Bundle.open(bundle))
    if not document["passed"]:
        raise VerificationError(
            "; ".join(document["reasons"]),
            where="verify",
            fix="distil for more steps, or lower accept.of_teacher",
        )
    write_json(out / "verify.json", document)
    shown = [f"{name} {facts['value']:.4f}" for name, facts in document["metrics"].items() if facts["value"]]
    return {"note": ", ".join(shown)}


def bench(bundle: Path, out: Path, work: Path, progress: Progress) -> dict[str, Any]:
    """Times the dense and the efficient engine side by side."""
    from edgeattn.bench.protocol import Protocol
    from edgeattn.bench.session import run
    from edgeattn.report.text import length, verdict

    copy = work / "bundle"
    shutil.rmtree(copy, ignore_errors=True)  # of a run that was killed
    shutil.copytree(bundle, copy)
    document = run(Bundle.open(copy), protocol=Protocol.quick(), progress=progress)
    write_json(out / "bench.json", document)
    shown = [f"{length(cell)} tokens: {verdict(cell['speedup'])}" for cell in document["cells"]]
    return {"note": ", ".join(shown).replace("- tokens: ", "")}


def bench_spec(recipe: Recipe, facts: dict[str, Any]) -> BenchSpec:
    """What is timed: the recipe's lengths, or for a model with a sequence its task's and its longest."""
    lengths = recipe.bench.lengths
    limit = facts["max_length"]
    sequence = any('"sequence"' in text for text in facts["inputs"])
    if lengths is not None and not sequence:
        raise RecipeError("the model has no sequence input", where="bench.lengths", fix="remove it")
    if lengths is None and sequence:
        lengths = tuple(sorted({min(128, limit), limit}))
    if lengths and limit and max(lengths) > limit:
        raise RecipeError(
            f"{max(lengths)} tokens are more than the {limit} positions of the model",
            where="bench.lengths",
            fix="use smaller lengths, or model.extend_positions",
        )
    return BenchSpec(lengths=lengths, batch_size=recipe.bench.batch_size, pairs=recipe.bench.pairs)


def task_spec(recipe: Recipe, evaluation: dict[str, Any]) -> TaskSpec:
    """The task's metrics that the held-out data allows, and the accuracy floor."""
    from edgeattn.tasks import TASKS

    metrics = tuple(m for m in TASKS[recipe.task.kind].metrics if m.name != "spearman" or "gold" in evaluation)
    names = [metric.name for metric in metrics]
    accept = recipe.accept.metric or names[0]
    if accept not in names:
        raise RecipeError(
            f"{accept!r} is no metric that this task and data have", where="accept.metric",
            fix=did_you_mean(accept, names),
        )  # fmt: skip
    return TaskSpec(
        kind=recipe.task.kind,
        metrics=metrics,
        accept_metric=accept,
        accept_of_teacher=recipe.accept.of_teacher,
    )


def record(bundle: Bundle, verified: Path, timed: Path) -> None:
    """Puts the evidence of the stages verify and bench into the bundle."""
    import json

    bundle.record("verify.json", json.loads((verified / "verify.json").read_text()))
    bundle.record("bench.json", json.loads((timed / "bench.json").read_text()))


def _positions(recipe: Recipe) -> int | None:
    return None if isinstance(recipe.model, NewViT) else recipe.model.extend_positions


def _load(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def _scores(
    task: Task, output: np.ndarray[Any, Any], teacher: np.ndarray[Any, Any], evaluation: dict[str, Any]
) -> dict[str, float]:
    """The task's metrics of one output beside the teacher's, on the held-out samples."""
    values = score(task.kind, {task.output: output}, {**evaluation, f"teacher.{task.output}": teacher})
    return {name: value for name, value in values.items() if math.isfinite(value)}


def _save(path: Path, arrays: dict[str, Any]) -> None:
    np.savez_compressed(path, **arrays)


def _save_evidence(task: Task, evaluation: dict[str, Any], outputs: dict[str, Any], out: Path) -> None:
    """samples.npz: golden inputs with both models' outputs. eval.npz: all held-out inputs, what they are scored
    against, and the teacher's outputs."""
    inputs = {f"input.{name}": evaluation[name] for name in task.inputs}
    extra = {name: x for name, x in evaluation.items() if name not in task.inputs}
    golden = {name: x[:GOLDEN_SAMPLES] for name, x in inputs.items()}
    answers = {f"{who}.{task.output}": x[:GOLDEN_SAMPLES] for who, x in outputs.items()}
    _save(out / "samples.npz", {**golden, **answers})
    _save(out / "eval.npz", {**inputs, **extra, f"teacher.{task.output}": outputs["teacher"]})


def _tensors(task: Task, evaluation: dict[str, Any], output: np.ndarray[Any, Any]) -> tuple[list[str], list[str]]:
    dims = task.dynamic_dims()
    inputs = []
    for name in task.inputs:
        shape = evaluation[name].shape
        named = tuple(dims[name].get(axis, size) for axis, size in enumerate(shape))
        inputs.append(TensorSpec(name=name, dtype=str(evaluation[name].dtype), dims=named).model_dump_json())
    result = TensorSpec(name=task.output, dtype="float32", dims=("batch", *output.shape[1:]))
    return inputs, [result.model_dump_json()]
