"""The stage that writes graphs of the student and of its teacher."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeattn.bundle import TensorSpec
from edgeattn.runtimes import RUNTIMES
from edgeattn.stage import Job
from edgeattn.stages.evidence import load, save_evidence, scores
from edgeattn.stages.learn import make_task, positions
from edgeattn.stages.target import opset_of
from edgeattn.store import write_json
from edgeattn.target import supported

if TYPE_CHECKING:
    from edgeattn.tasks import Task


def export(job: Job) -> dict[str, Any]:
    """Writes the efficient graph, the dense graph of the same teacher, and their golden arrays.

    Also exports each form with the runtime's fused attention operators; the faster one ships.
    """
    from edgeattn.attention.dense import FUSED
    from edgeattn.convert import convert, find_layers, variants
    from edgeattn.export.check import check_graph
    from edgeattn.export.onnx import export as to_onnx
    from edgeattn.export.onnx import save
    from edgeattn.export.rewrite import rewrite
    from edgeattn.models.positions import token_limit
    from edgeattn.models.student import load_student
    from edgeattn.models.teacher import load_teacher

    recipe, device, teacher, out = job.recipe, job.device, job.path("teacher"), job.out
    task = make_task(recipe, teacher)
    evaluation = load(job.path("data") / "eval.npz")
    example = task.example(evaluation)
    opset = opset_of(recipe, device)
    efficient = load_student(job.path("distill"), task.auto_model, example)
    dense = load_teacher(teacher, task, extend_positions=positions(recipe))
    models = {"student": efficient, "teacher": dense}
    outputs = {who: task.run(task.exportable(model), evaluation) for who, model in models.items()}
    convert(dense, (), example)
    limit = token_limit(dense)
    fusible = {"efficient": frozenset().union(*(variant.operators for variant in variants(efficient)))}
    fusible["dense"] = frozenset({FUSED})
    if len(variants(efficient)) < len(find_layers(efficient, example)):  # its other layers are dense
        fusible["efficient"] |= fusible["dense"]
    known = RUNTIMES[supported(device).name].operators
    forms = {
        name: (model, operators)
        for side, model in (("efficient", efficient), ("dense", dense))
        for name, operators in forms_of(side, fusible[side] & known)
    }
    facts: dict[str, Any] = {"opset": opset, "graphs": {}, "max_length": limit, "sequence": task.has_sequence}
    for done, (name, (model, operators)) in enumerate(forms.items()):
        job.progress.update(done, len(forms), graph=name)
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
    save_evidence(task, evaluation, outputs, out)
    facts["scores"] = scores(task, outputs["student"], outputs["teacher"], evaluation)
    facts["inputs"], facts["outputs"] = _tensors(task, evaluation, outputs["student"])
    nodes = facts["graphs"]["efficient"]["nodes"]
    return {**facts, "note": f"opset {opset}, {nodes} nodes"}


def forms_of(side: str, operators: frozenset[str]) -> Iterator[tuple[str, frozenset[str]]]:
    """The plain form, the form with all fused operators and, if there are several, one form with each of them."""
    yield side, frozenset()
    if operators:
        yield f"{side}-fused", operators
    if len(operators) > 1:
        for operator in sorted(operators):
            yield f"{side}-fused-{operator.rpartition(':')[2]}", frozenset({operator})


def _tensors(task: Task, evaluation: dict[str, Any], output: np.ndarray[Any, Any]) -> tuple[list[str], list[str]]:
    dims = task.dynamic_dims()
    inputs = []
    for name in task.inputs:
        shape = evaluation[name].shape
        named = tuple(dims[name].get(axis, size) for axis, size in enumerate(shape))
        spec = {"name": name, "dtype": str(evaluation[name].dtype), "dims": named}
        inputs.append(TensorSpec.model_validate(spec).model_dump_json())
    result = TensorSpec(name=task.output, dtype="float32", dims=("batch", *output.shape[1:]))
    return inputs, [result.model_dump_json()]
