"""What every task promises, on tiny models: one row of CASES per entry of the registry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import onnxruntime
import pytest
import tiny_models
import torch
from numpy.testing import assert_allclose

from edgeattn.bench.inputs import bench_feeds, one_by_one
from edgeattn.cli.recipes import _TASKS as STARTERS
from edgeattn.data.rows import Rows
from edgeattn.export.onnx import PREFERRED_OPSET, export, save
from edgeattn.metrics import METRICS, keep, kept_arrays, metrics_of, references, score
from edgeattn.padding import stack, trim
from edgeattn.recipe.tasks import AnyTask
from edgeattn.runtimes.graphs import tensor_dims
from edgeattn.stages.evidence import evidence, golden, scores
from edgeattn.stages.export import interface_of
from edgeattn.tasks import TASKS


@dataclass
class Case:
    """A task with its samples, a teacher and another model of its kind."""

    task: Any
    samples: dict[str, np.ndarray]
    model: Any
    other: Any


def _text(columns: dict[str, Any]) -> Rows:
    return Rows({"text": tiny_models.sentences(20), **columns})


def _pairs() -> Rows:
    texts = tiny_models.sentences(20)
    return Rows({"text": texts[:10], "text_pair": texts[10:], "score": np.linspace(0, 1, 10).tolist()})


def _images() -> Rows:
    images = tiny_models.images(20)
    return Rows({"image": images["pixel_values"], "label": images["label.classes"]})


CASES: dict[str, tuple[Callable[..., Any], Callable[[], Rows], str, dict[str, Any]]] = {
    "text-embedding": (tiny_models.text_task, _pairs, "bert", {}),
    "text-classification": (
        tiny_models.text_classification_task, lambda: _text({"label": [i % 3 for i in range(20)]}), "bert",
        {"head": "BertForSequenceClassification", "num_labels": 3},
    ),
    "text-generation": (tiny_models.text_generation_task, lambda: _text({}), "llama", {"head": "LlamaForCausalLM"}),
    "image-classification": (tiny_models.image_task, _images, "vit", {}),
}  # fmt: skip


@pytest.fixture(scope="module", params=list(CASES))
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    make_task, rows, name, options = CASES[request.param]
    task = make_task(tmp_path_factory.mktemp("teacher"))
    models = (tiny_models.make(name, layers=2, seed=seed, **options)[0] for seed in (0, 5))
    return Case(task, task.encode(rows(), held_out=True), *models)


def interface(case: Case) -> Any:
    whole = {"student": case.task.exportable(case.model)}
    return interface_of(case.task, case.samples, golden(case.task, case.samples, whole), case.task.longest(case.model))


def test_every_task_has_metrics_a_part_of_the_recipe_and_a_starter() -> None:
    kinds = {get_args(part.model_fields["kind"].annotation)[0] for part in get_args(AnyTask)}
    assert set(TASKS) == set(METRICS) == kinds == set(STARTERS) == set(CASES)
    assert {TASKS[name].kind for name in TASKS} == kinds


def test_inputs_and_outputs_have_the_axes_that_are_declared(case: Case) -> None:
    found = interface(case)
    assert [spec.name for spec in found.inputs] == list(case.task.inputs)
    assert set(case.task.exportable(case.model)(**case.task.example(case.samples))) >= set(case.task.outputs)
    assert found.length_axis == case.task.length_axis
    for spec in (*found.inputs, *found.outputs):
        declared = (case.task.inputs | case.task.outputs)[spec.name]
        assert [dim for dim in spec.dims if isinstance(dim, str)] == [dim for dim in declared if dim is not None]


def test_samples_are_padded_at_the_end_of_their_axes(case: Case) -> None:
    for mask in case.task.masks:
        assert (np.diff(case.samples[mask], axis=1) <= 0).all()
        assert case.samples[mask].any(axis=1).all()
    assert {name for name in case.samples if name not in case.task.inputs} == {
        need for metric in metrics_of(case.task.kind) for need in metric.needs if need.startswith("label.")
    }


def test_padding_and_batches_change_nothing_that_metrics_keep(case: Case) -> None:
    whole = case.task.exportable(case.model)
    alone, together = (case.task.kept(whole, case.samples, size=size) for size in (1, 32))
    assert {kept.name for kept in kept_arrays(case.task.kind)} == set(alone)
    for name, array in alone.items():
        assert_allclose(array, together[name], atol=2e-4)


def test_the_teacher_agrees_with_itself_and_another_model_less(case: Case) -> None:
    kind = case.task.kind
    teacher, other = (case.task.kept(case.task.exportable(model), case.samples) for model in (case.model, case.other))
    arrays = evidence(case.task, case.samples, teacher)
    assert references(arrays).keys() == teacher.keys()
    own, others = scores(case.task, teacher, arrays), scores(case.task, other, arrays)
    assert set(own) == {metric.name for metric in metrics_of(kind)}
    for metric in metrics_of(kind):
        if any(need.startswith("reference.") for need in metric.needs):
            assert own[metric.name] == pytest.approx(1)
            assert others[metric.name] < 0.99


def test_the_loss_of_a_model_with_itself_is_zero_and_sees_no_padding(case: Case) -> None:
    task, short = case.task, case.task.example(case.samples)
    with torch.no_grad():
        same, other = (task.forward(model, short) for model in (case.model, case.other))
        assert float(task.distillation_loss(same, same, short)) == pytest.approx(0, abs=1e-5)
        loss = float(task.distillation_loss(other, same, short))
        assert loss > 0.05
        if task.masks:
            long = {name: torch.nn.functional.pad(x, (0, 6)) for name, x in short.items()}
            padded = task.distillation_loss(task.forward(case.other, long), task.forward(case.model, long), long)
            assert float(padded) == pytest.approx(loss, rel=1e-3)


@pytest.mark.usefixtures("one_operator_table")
def test_an_exported_graph_scores_as_the_model_does(case: Case, tmp_path: Any) -> None:
    """As on a device: samples one by one without padding, and what is kept of the outputs."""
    task, found = case.task, interface(case)
    limits = {name: (1, axis.longest) for name, axis in found.axes.items()}
    whole = task.exportable(case.model).eval()
    graph, _ = export(whole, task.example(case.samples), task.dynamic_dims(), opset=PREFERRED_OPSET, limits=limits)
    save(graph, tmp_path / "model.onnx")
    dims = tensor_dims(tmp_path / "model.onnx")
    assert set(dims) == set(found.dims)
    for name, expected in found.dims.items():
        assert len(dims[name]) == len(expected)
        assert all(a == b for a, b in zip(dims[name], expected, strict=True) if name in task.inputs)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    teacher = task.kept(whole, case.samples)
    arrays = evidence(task, case.samples, teacher)
    parts = []
    for feeds in one_by_one(found, arrays, 3):
        outputs = dict(zip(names, session.run(names, feeds), strict=True))
        parts.append(keep(task.kind, outputs, feeds))
    kept = {name: stack([part[name] for part in parts]) for name in parts[0]}
    expected, measured = (score(task.kind, each, arrays) for each in (teacher, kept))
    assert measured == pytest.approx(expected, abs=1e-4, nan_ok=True)


def test_feeds_of_any_length_are_content_only(case: Case) -> None:
    found = interface(case)
    arrays = evidence(case.task, case.samples, case.task.kept(case.task.exportable(case.model), case.samples))
    length = 19 if found.length_axis else None
    for feeds in bench_feeds(found, arrays, length=length, batch_size=2, count=2):
        assert set(feeds) == set(case.task.inputs)
        assert all(feeds[mask].all() for mask in case.task.masks)
        assert {name: array.shape for name, array in trim(feeds, found.dims, found.axes).items()} == {
            name: array.shape for name, array in feeds.items()
        }
        for spec in found.inputs:
            sizes = [2 if dim == "batch" else length if dim == found.length_axis else dim for dim in spec.dims]
            assert list(feeds[spec.name].shape) == sizes
