"""Finds what a compile of a recipe would refuse, before anything is copied, hashed or trained.

`edgeattn recipes check` and the first stage of `edgeattn compile` are this one check. The recipe's own reader has
checked the keys; here they meet the target, the data and the model. Every finding has file, line, key and remedy.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedModel

from edgeattn.convert import convert, find_layers, make_plan
from edgeattn.convert.probe import run_once
from edgeattn.data.load import load_rows
from edgeattn.data.rows import Rows
from edgeattn.devices import DeviceProfile, usable_memory_bytes
from edgeattn.errors import DataError, InputError, RecipeError
from edgeattn.metrics import kept_arrays, metric, score
from edgeattn.models.checks import check_digest, check_files
from edgeattn.models.example import example_inputs
from edgeattn.models.locate import cached, locate
from edgeattn.models.new import new_vit
from edgeattn.models.positions import extend_positions
from edgeattn.models.teacher import check_output, load_teacher
from edgeattn.padding import cut
from edgeattn.quantize import METHODS
from edgeattn.recipe import Recipe
from edgeattn.recipe.schema import LayerRule, NewViT, PretrainedModel, Source
from edgeattn.registry import did_you_mean
from edgeattn.stages.evidence import evidence
from edgeattn.stages.target import methods_of, opset_of
from edgeattn.tasks import TASKS, Samples, Task
from edgeattn.validation import Finding, combined, key_text
from edgeattn.yamlfile import Place, Positions

_TRAINED_BYTES = 16  # of a parameter in training: itself, its gradient and two moments, in fp32


@dataclass
class _Findings:
    """Collects what is wrong, with its place in the recipe, to raise it as one error."""

    positions: Positions
    found: list[Finding] = field(default_factory=list)
    kinds: set[type[InputError]] = field(default_factory=set)

    def add(self, place: Place, error: InputError) -> None:
        key = key_text(place)
        fact = error.fact if error.where in (None, key) else f"{error.where}: {error.fact}"
        finding = Finding(self.positions.where(place), key, fact, error.fix)
        if finding not in self.found:  # the tokenizer and the model both report a broken config
            self.found.append(finding)
        self.kinds.add(type(error))

    @contextmanager
    def at(self, *place: str | int) -> Iterator[None]:
        """Notes an InputError that is raised inside; what follows the block still runs."""
        try:
            yield
        except InputError as error:
            self.add(place, error)

    def done(self) -> None:
        """Raise all findings as one error, if there are any."""
        if self.found:
            kind = self.kinds.pop() if len(self.kinds) == 1 else InputError
            raise combined(self.found, self.positions, kind)


def preflight(
    recipe: Recipe, root: Path, positions: Positions, device: DeviceProfile, *, download: bool = False
) -> dict[str, Any]:
    """Check `recipe`, whose file names start from `root`, against the target, its data and its model.

    download: fetch data and a model from the hub; otherwise data on the hub, and a model that is not in the hub's
    cache, are not checked. Returns {layers, tokens, train, eval, unchecked}: the number of attention layers, the most
    tokens the model takes (None: no limit), the numbers of samples, and a list of what was not checked. A number that
    is not known is None. Raises one InputError with all findings, and DeviceError for what this machine lacks.
    """
    findings = _Findings(positions)
    with findings.at("export", "opset"):
        opset_of(recipe, device)
    with findings.at("quantize", "methods"):
        methods_of(recipe, device)
    unchecked: list[str] = []
    folder = _folder(findings, recipe, root, unchecked, download=download)
    # A task reads its teacher's folder for a tokenizer only; a new teacher has none.
    task = TASKS[recipe.task.kind](recipe.task, folder or root)
    train = _rows(findings, recipe.data.train, root, unchecked, "train", download=download)
    held_out = _rows(findings, recipe.data.eval, root, unchecked, "eval", download=download)
    sound = []
    for part, rows in (("train", train), ("eval", held_out)):
        with findings.at("data", part, "source"):
            if rows is not None:
                task.read(rows, held_out=part == "eval")
                sound.append(part)
    samples: Samples | None = None
    if held_out is not None and "eval" in sound and (folder or isinstance(recipe.model, NewViT)):
        with findings.at("model", "source"):
            samples = task.encode(held_out, held_out=True)
    if samples is not None:
        _check_metrics(findings, recipe, task, samples)
    _check_lengths(findings, recipe, task)
    layers = tokens = None
    if folder or isinstance(recipe.model, NewViT):
        layers, tokens = _check_model(findings, recipe, task, folder, samples)
    if train is not None and samples is not None and not findings.found:
        with findings.at("data", "train", "source"):
            _check_calibration(recipe, device, task, train, samples)
    if folder and isinstance(recipe.model, PretrainedModel) and recipe.model.digest and not findings.found:
        with findings.at("model", "digest"):  # last: it reads all weights
            check_digest(folder, recipe.model.digest)
    findings.done()
    count = {"train": train, "eval": held_out}
    return {
        "layers": layers,
        "tokens": tokens,
        **{part: None if rows is None else len(rows) for part, rows in count.items()},
        "unchecked": unchecked,
    }


def _folder(findings: _Findings, recipe: Recipe, root: Path, unchecked: list[str], *, download: bool) -> Path | None:
    """The checked folder of a pretrained teacher; None for a new teacher, and where the folder cannot be used."""
    if not isinstance(recipe.model, PretrainedModel):
        return None
    with findings.at("model", "source"):
        folder = locate(recipe.model, root) if download else cached(recipe.model, root)
        if folder is None:
            unchecked.append(f"{recipe.model.source} is not in the hub's cache: its layers, positions and tokenizer")
            return None
        check_files(folder)
        return folder
    return None


def _rows(
    findings: _Findings, source: Source, root: Path, unchecked: list[str], part: str, *, download: bool
) -> Rows | None:
    if source.source.startswith("hub:") and not download:
        unchecked.append(f"{source.source} is not downloaded: columns and values of data.{part}")
        return None
    with findings.at("data", part, "source"):
        rows = load_rows(source, root)
        if source.columns.score and "text_pair" not in rows:
            error = RecipeError("a score is of two texts, and there is no text_pair", fix="name the column text_pair")
            findings.add(("data", part, "columns", "score"), error)
        return rows
    return None


def _check_metrics(findings: _Findings, recipe: Recipe, task: Task, samples: Samples) -> None:
    """Scores random values: a metric that fails or has no value for these would fail after the training too."""
    values: dict[str, float] = {}
    with findings.at("data", "eval", "source"):
        kept, teacher = (_random_kept(task, samples, seed) for seed in (0, 1))
        values = score(task.kind, kept, evidence(task, samples, teacher))
    usable = [name for name, value in values.items() if np.isfinite(value)]
    wanted = recipe.accept.metric or next(iter(values), None)
    if wanted is None or wanted in usable:
        return
    if wanted in values:
        fact = f"{wanted} has no value on the held-out data: {metric(task.kind, wanted).nan}"
    else:
        needs = metric(task.kind, wanted).needs
        lacking = " and ".join(key.removeprefix("label.") for key in needs if key not in samples)
        fact = f"{wanted} needs {lacking}, and the held-out data has none"
    findings.add(("accept", "metric"), RecipeError(fact, fix=did_you_mean(wanted, usable)))


def _random_kept(task: Task, samples: Samples, seed: int) -> Samples:
    """What metrics keep of outputs, with random values."""
    sizes = {
        dim: size
        for name, dims in task.inputs.items()
        for dim, size in zip(dims, samples[name].shape, strict=True)
        if dim is not None
    }
    rng = np.random.default_rng(seed)
    shapes = {kept.name: [sizes[dim] if dim else 8 for dim in kept.dims] for kept in kept_arrays(task.kind)}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def _check_calibration(recipe: Recipe, device: DeviceProfile, task: Task, train: Rows, held_out: Samples) -> None:
    """Raise DataError where a method of the target calibrates and every training sample is held out."""
    known = {name for support in device.runtimes for name in support.methods}
    names = [method.name for method in recipe.quantize.methods if method.name in known]
    calibrated = [name for name in names if METHODS[name].needs_calibration]
    if not calibrated or len(train) > task.count(held_out):  # of so many, at least one is not held out
        return
    longest = recipe.distill.max_length if recipe.distill else None
    encoded = task.encode(train, held_out=False, max_length=longest)
    if task.overlap(held_out, encoded) == task.count(encoded):
        count, method = task.count(encoded), calibrated[0]
        raise DataError(
            f"all {count} training samples are held out too, and {method} needs others to calibrate",
            fix="give other training data, or quantize.methods that need no calibration",
        )


def _check_lengths(findings: _Findings, recipe: Recipe, task: Task) -> None:
    for place in _lengths(recipe) if task.length_axis is None else ():
        findings.add(place, RecipeError("the inputs of the model have one size", fix="remove it"))


def _lengths(recipe: Recipe) -> dict[Place, int]:
    """place -> the most that the recipe asks the model to take there, along the length axis."""
    lengths: dict[Place, Sequence[int] | None] = {
        ("bench", "lengths"): recipe.bench.lengths,
        ("export", "buckets"): recipe.export.buckets,
    }
    if isinstance(limit := getattr(recipe.task, "max_length", None), int):
        lengths["task", "max_length"] = (limit,)
    if recipe.distill and recipe.distill.max_length:
        lengths["distill", "max_length"] = (recipe.distill.max_length,)
    return {place: max(values) for place, values in lengths.items() if values}


def _check_model(
    findings: _Findings, recipe: Recipe, task: Task, folder: Path | None, samples: Samples | None
) -> tuple[int | None, int | None]:
    """Converts a model like the teacher, untrained if it is new. Returns its attention layers and token limit."""
    model: PreTrainedModel | None = None
    if isinstance(recipe.model, NewViT):
        with findings.at("model"):
            model = _new_model(recipe.model, recipe.task)
    elif folder is not None:
        with findings.at("model", "source"):
            model = load_teacher(folder, task)
        if model is not None and recipe.model.extend_positions:
            with findings.at("model", "extend_positions"):
                extend_positions(model, recipe.model.extend_positions)
    if model is None:
        return None, None
    limit = task.longest(model)
    for place, length in _lengths(recipe).items():
        if limit is not None and task.length_axis is not None and length > limit:
            unit = task.axes[task.length_axis].unit
            fact = f"{length} {unit} are more than the {limit} that the model takes"
            findings.add(place, RecipeError(fact, fix="use at most that many, or model.extend_positions"))
    before = len(findings.found)
    if samples is not None:
        _check_fit(findings, recipe, task, model, samples)
    if len(findings.found) > before:
        samples = None  # the model does not run on them
    layers: int | None = None
    with findings.at("model", "source"):
        example = _example(task, model, samples, limit)
        if folder is not None:
            check_output(model, task, example, folder)
        layers = len(find_layers(model, example))
    if layers is not None:
        _check_rules(findings, recipe, model, example, layers)
    return layers, limit


def _new_model(spec: NewViT, task: Any) -> PreTrainedModel:
    """The new teacher before its training. Raises RecipeError for one that this machine has no memory for."""
    patches = (spec.image_size // spec.patch_size) ** 2
    layer = 4 * spec.hidden_size**2 + 2 * spec.hidden_size * spec.mlp_size
    patch = spec.channels * spec.patch_size**2
    needed = _TRAINED_BYTES * (spec.layers * layer + spec.hidden_size * (patches + patch + task.labels))
    available = usable_memory_bytes()
    if available is not None and needed > available:
        fact = f"training it takes {needed / 1e9:.1f} GB, and this machine has {available / 1e9:.1f} GB"
        raise RecipeError(fact, fix="use fewer or smaller layers")
    return new_vit(spec, task)


def _check_fit(findings: _Findings, recipe: Recipe, task: Task, model: PreTrainedModel, samples: Samples) -> None:
    """Notes what the data and the recipe have, and the model does not."""
    if isinstance(recipe.model, NewViT):
        spec, (channels, height, width) = recipe.model, samples["pixel_values"].shape[1:]
        if channels != spec.channels:
            fact = f"{spec.channels} channels, and the images have {channels}"
            findings.add(("model", "channels"), RecipeError(fact, fix=f"use {channels}"))
        if (height, width) != (spec.image_size, spec.image_size):
            fact = f"{spec.image_size} x {spec.image_size} pixels, and the images have {height} x {width}"
            fix = f"use {height}" if height == width else "give square images"
            findings.add(("model", "image_size"), RecipeError(fact, fix=fix))
    else:
        with findings.at("model", "source"):
            for place, error in task.misfits(model, samples):
                findings.add(place, error)


def _example(task: Task, model: PreTrainedModel, samples: Samples | None, limit: int | None) -> dict[str, Any]:
    """Two samples; made up where the data cannot be used."""
    if samples is not None:
        example = task.example(samples)
    else:
        found = example_inputs(model, batch_size=2)
        example = {name: found[name] for name in task.inputs}
    return cut(example, task.inputs, task.length_axis, limit) if limit and task.length_axis else example


def _check_rules(
    findings: _Findings, recipe: Recipe, model: PreTrainedModel, example: dict[str, Any], layers: int
) -> None:
    """Converts a copy of the model as the recipe says, and runs it."""
    rules: list[tuple[str, int, LayerRule]] = [("attention", *each) for each in enumerate(recipe.attention)]
    rules += [("reduce", *each) for each in enumerate(recipe.reduce)]
    sound: list[tuple[str, int, LayerRule]] = []
    for key, position, rule in rules:
        absent = [str(layer) for layer in rule.indices(layers) if layer >= layers]
        if absent:
            which = f"layer {absent[0]} does" if len(absent) == 1 else f"layers {', '.join(absent)} do"
            fact = f"{which} not exist: the model has {layers} attention layers, 0 to {layers - 1}"
            findings.add((key, position, "layers"), RecipeError(fact, fix=f"name layers up to {layers - 1}"))
        else:
            sound.append((key, position, rule))

    def converted(*chosen: tuple[str, int, LayerRule]) -> None:
        attention, reduce = ([rule for key, _, rule in chosen if key == kind] for kind in ("attention", "reduce"))
        changed = convert(copy.deepcopy(model), make_plan(attention, reduce, layers), example)
        run_once(changed, example, what="two samples after the conversion", fix="choose other options or layers")

    try:
        converted(*sound)
    except InputError as error:
        before = len(findings.found)
        for each in sound:  # which of them is it?
            with findings.at(*each[:2]):
                converted(each)
        if len(findings.found) == before:
            findings.add(("reduce" if recipe.reduce else "attention",), error)
