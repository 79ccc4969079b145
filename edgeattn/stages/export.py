"""The stage that writes graphs of the student and of its teacher."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from edgeattn.bundle import Interface, TensorSpec
from edgeattn.manifest import Side
from edgeattn.runtimes import RUNTIMES
from edgeattn.stage import Job
from edgeattn.stages.decode import export_decode_graphs
from edgeattn.stages.evidence import evidence, golden, load, scores
from edgeattn.stages.evidence import save as save_arrays
from edgeattn.stages.learn import make_task, positions
from edgeattn.stages.target import opset_of
from edgeattn.store import write_json

if TYPE_CHECKING:
    from edgeattn.tasks import Task


def export(job: Job) -> dict[str, Any]:
    """Writes the efficient graph, the dense graph of the same teacher, and their golden arrays.

    Also exports each form with the runtime's fused attention operators; the faster one ships. For a task that generates
    text, also the graphs of one token.
    """
    from edgeattn.attention.dense import FUSED
    from edgeattn.check.sound import check_graph
    from edgeattn.convert import convert, find_layers, variants
    from edgeattn.export.onnx import export as to_onnx
    from edgeattn.export.onnx import save
    from edgeattn.export.rewrite import rewrite
    from edgeattn.models.student import load_student
    from edgeattn.models.teacher import load_teacher

    recipe, device, teacher, out = job.recipe, job.device, job.path("teacher"), job.out
    task = make_task(recipe, teacher)
    evaluation = load(job.path("data") / "eval.npz")
    example = task.example(evaluation)
    opset = opset_of(recipe, device)
    efficient = load_student(job.path("distill"), task.auto_model, example)
    dense = load_teacher(teacher, task, extend_positions=positions(recipe))
    models = {"student": task.exportable(efficient), "teacher": task.exportable(dense)}
    samples = golden(task, evaluation, models)
    arrays = evidence(task, evaluation, task.kept(models["teacher"], evaluation))
    values = scores(task, task.kept(models["student"], evaluation), arrays)
    convert(dense, (), example)
    interface = interface_of(task, evaluation, samples, task.longest(dense))
    limits = {name: (1, axis.longest) for name, axis in interface.axes.items()}
    fusible = {"efficient": frozenset().union(*(variant.operators for variant in variants(efficient)))}
    fusible["dense"] = frozenset({FUSED})
    if len(variants(efficient)) < len(find_layers(efficient, example)):  # its other layers are dense
        fusible["efficient"] |= fusible["dense"]
    known = frozenset().union(*(RUNTIMES[support.name].operators for support in device.runtimes))
    forms = {
        name: (model, operators)
        for side, model in (("efficient", efficient), ("dense", dense))
        for name, operators in forms_of(side, fusible[side] & known)
    }
    facts: dict[str, Any] = {"opset": opset, "graphs": {}, "interface": interface.model_dump(mode="json")}
    for done, (name, (model, operators)) in enumerate(forms.items()):
        job.progress.update(done, len(forms), graph=name)
        graph, manifest = to_onnx(
            task.exportable(model), example, task.dynamic_dims(),
            opset=opset, limits=limits, operators=operators,
        )  # fmt: skip
        fired = rewrite(graph)
        save(graph, out / f"{name}.onnx")
        facts["graphs"][name] = {**check_graph(out / f"{name}.onnx"), "rewrites": fired, "operators": sorted(operators)}
        if name == "efficient":
            write_json(out / "export.json", manifest)
    if task.decodes:
        decoders: dict[Side, Any] = {"efficient": efficient, "dense": dense}
        facts["decode"] = export_decode_graphs(decoders, out, opset=opset, longest=task.longest(dense))
    efficient.config.save_pretrained(out)
    for file in task.processor_files(teacher):
        shutil.copyfile(file, out / file.name)
    save_arrays(out / "samples.npz", samples)
    save_arrays(out / "eval.npz", arrays)
    facts["scores"] = values
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


def interface_of(task: Task, samples: Mapping[str, Any], golden: Mapping[str, Any], longest: int | None) -> Interface:
    """The inputs and outputs of the task's graphs, with the sizes that samples and golden outputs have.

    longest: that the model takes along the length axis.
    """

    def spec(name: str, dims: tuple[str | None, ...], array: Any) -> TensorSpec:
        named = tuple(dim or size for dim, size in zip(dims, array.shape, strict=True))
        return TensorSpec.model_validate({"name": name, "dtype": str(array.dtype), "dims": named})

    axes = {
        name: axis.model_copy(update={"longest": longest}) if name == task.length_axis else axis
        for name, axis in task.axes.items()
    }
    return Interface(
        inputs=tuple(spec(name, dims, samples[name]) for name, dims in task.inputs.items()),
        outputs=tuple(spec(name, dims, golden[f"student.{name}"]) for name, dims in task.outputs.items()),
        axes=axes,
        length_axis=task.length_axis,
    )


def exported_interface(facts: Mapping[str, Any]) -> Interface:
    """The inputs and outputs that the stage's facts name."""
    return Interface.model_validate_json(json.dumps(facts["interface"]))
