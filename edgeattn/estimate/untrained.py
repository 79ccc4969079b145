"""The graphs that a recipe leads to, before anything is trained: counting needs no weights, so they are random."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig

from edgeattn.attention.dense import FUSED
from edgeattn.convert import convert, find_layers, make_plan, variants
from edgeattn.devices import DeviceProfile
from edgeattn.estimate.asked import Asked, lengths_for
from edgeattn.estimate.forms import Form
from edgeattn.export.onnx import export, save
from edgeattn.export.rewrite import rewrite
from edgeattn.manifest import SIDES, Side
from edgeattn.models.checks import check_config
from edgeattn.models.example import example_inputs
from edgeattn.models.files import CONFIG
from edgeattn.models.locate import located_config
from edgeattn.models.new import new_vit
from edgeattn.models.positions import extend_positions
from edgeattn.models.reading import empty_model, models_fault
from edgeattn.padding import cut
from edgeattn.progress import Progress
from edgeattn.quantize import METHODS
from edgeattn.recipe import LoadedRecipe, Recipe
from edgeattn.recipe.schema import NewViT
from edgeattn.runtimes import RUNTIMES
from edgeattn.stages.target import methods_of, opset_of
from edgeattn.tasks import TASKS, Task


def asked_of_recipe(
    loaded: LoadedRecipe,
    device: DeviceProfile,
    folder: Path,
    lengths: Sequence[int] | None = None,
    progress: Progress | None = None,
) -> Asked:
    """Writes the graphs of the recipe's dense and efficient model into the empty `folder`; returns what to predict.

    lengths: those of the recipe's benchmark when None. Raises an InputError for a recipe that no such model can be made
    of, or a length that the model does not take, and ToolError where it cannot be exported.
    """
    recipe, progress = loaded.recipe, progress or Progress()
    opset = opset_of(recipe, device)
    methods = methods_of(recipe, device)
    source = None if isinstance(recipe.model, NewViT) else located_config(recipe.model, loaded.root)
    task = TASKS[recipe.task.kind](recipe.task, source or loaded.root)
    dense, longest = _model(recipe, task, source)
    axis = task.length_axis
    unit = task.axes[axis].unit if axis else None
    chosen = lengths_for(axis, longest, unit, lengths, recipe.bench.lengths)
    example = _example(task, dense, longest)
    layers = len(find_layers(dense, example))
    convert(dense, (), example)
    efficient, _ = _model(recipe, task, source)
    convert(efficient, make_plan(recipe.attention, recipe.reduce, layers), example)
    known = frozenset().union(*(RUNTIMES[each.name].operators for each in device.runtimes if each.name in RUNTIMES))
    # Dense attention in one operator is counted from the plain graph: see `fuse`.
    fused = frozenset().union(*(variant.operators for variant in variants(efficient))) & known - {FUSED}
    wanted: list[tuple[Side, Any, str, frozenset[str]]] = [(side, model, "plain", frozenset())
              for side, model in zip(SIDES, (efficient, dense), strict=True)]  # fmt: skip
    if fused:
        wanted.append(("efficient", efficient, "fused", fused))
    forms: list[Form] = []
    begun = time.monotonic()
    progress.stage("export", "graphs with random weights, to count")
    for done, (side, model, name, operators) in enumerate(wanted):
        progress.update(done, len(wanted), graph=f"{side} {name}")
        graph, _ = export(
            task.exportable(model), example, task.dynamic_dims(), opset=opset, operators=operators,
            limits={axis: (1, longest)} if axis else None,
        )  # fmt: skip
        rewrite(graph)
        path = folder / f"{side}-{name}.onnx"
        save(graph, path)
        forms += _by_method(path, side, name, operators, methods)
    progress.finish("export", time.monotonic() - begun)
    return Asked(tuple(forms), axis, unit, chosen, longest)


def _by_method(
    path: Path, side: Side, name: str, operators: frozenset[str], methods: tuple[str, ...]
) -> Iterator[Form]:
    for method in methods:
        if METHODS[method].fused or not operators:
            yield Form(path, side, name, method, operators=operators, arithmetic=METHODS[method].arithmetic)


def _model(recipe: Recipe, task: Task, source: Path | None) -> tuple[Any, int | None]:
    """The dense model with random weights, and the most that it takes along the length axis."""
    if isinstance(recipe.model, NewViT):
        model = new_vit(recipe.model, task.spec)
        return model, task.longest(model)
    assert source is not None
    check_config(source / CONFIG)
    empty_model(source, task.auto_model)  # refuses a config that no model, or a huge one, can be made of
    with models_fault(source / CONFIG):
        config = AutoConfig.from_pretrained(source, local_files_only=True, trust_remote_code=False)
        model = task.auto_model.from_config(config, trust_remote_code=False, dtype=torch.float32).eval()
    if recipe.model.extend_positions:
        extend_positions(model, recipe.model.extend_positions)
    return model, task.longest(model)


def _example(task: Task, model: Any, longest: int | None) -> dict[str, Any]:
    """Two made-up samples: the data is not read."""
    found = example_inputs(model, batch_size=2)
    example = {name: found[name] for name in task.inputs}
    return cut(example, task.inputs, task.length_axis, longest) if longest and task.length_axis else example
