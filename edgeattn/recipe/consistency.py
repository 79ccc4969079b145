"""Checks a recipe's keys against each other: what is valid alone but wrong together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePath

from edgeattn.recipe.schema import LayerRule, NewViT, PretrainedModel, Recipe, Source
from edgeattn.recipe.tasks import AnyTask, ImageClassification
from edgeattn.registry import did_you_mean
from edgeattn.validation import Finding, key_text
from edgeattn.yamlfile import Place, Positions


def findings(recipe: Recipe, positions: Positions) -> Iterator[Finding]:
    """Every contradiction in `recipe` that needs neither its data nor its model."""
    for place, message, fix in _contradictions(recipe):
        yield Finding(positions.where(place), key_text(place), message, fix)


def _contradictions(recipe: Recipe) -> Iterator[tuple[Place, str, str]]:
    yield from _model(recipe)
    for part, source in (("train", recipe.data.train), ("eval", recipe.data.eval)):
        for place, message, fix in _source(source, recipe.task):
            yield ("data", part, *place), message, fix
    for key, rules in (("attention", recipe.attention), ("reduce", recipe.reduce)):
        yield from _overlaps(key, rules)
    yield from _metric(recipe)


def _model(recipe: Recipe) -> Iterator[tuple[Place, str, str]]:
    model = recipe.model
    if isinstance(model, NewViT) and not isinstance(recipe.task, ImageClassification):
        fact = f"a new {model.architecture} cannot do {recipe.task.kind}"
        yield ("model", "architecture"), fact, "use the task image-classification, or a pretrained model"
    if isinstance(model, PretrainedModel) and model.revision and not model.source.startswith("hub:"):
        yield ("model", "revision"), f"{model.source} has no revisions; only hub models have", "remove it"


def _source(source: Source, task: AnyTask) -> Iterator[tuple[Place, str, str]]:
    from edgeattn.data.builtin import BUILTINS, SPLITS
    from edgeattn.data.formats import FORMATS, suffix_of

    kind, colon, name = source.source.partition(":")
    if kind == "builtin" and name not in BUILTINS:
        yield ("source",), f"unknown builtin data {name!r}", did_you_mean(name, list(BUILTINS))
    elif kind == "builtin" and source.split not in SPLITS:
        yield ("split",), f"{source.source} has no split {source.split!r}", f"use {' or '.join(SPLITS)}"
    if not colon and source.split != "train":
        yield ("split",), "a file has no splits", "remove it, and name another file as the source"
    if kind != "hub" and source.revision:
        yield ("revision",), f"{source.source} has no revisions; only hub data has", "remove it"
    if FORMATS.get(suffix_of(PurePath(source.source))) != "csv":
        for key, value in (("names", source.names), ("quoting", None if source.quoting else False)):
            if value is not None:
                yield (key,), "applies to csv and tsv files only", "remove it"
    for column in source.columns.model_dump(exclude_none=True):
        if column not in task.columns:
            fix = f"remove it; {task.kind} reads {', '.join(task.columns)}"
            yield ("columns", column), f"{task.kind} does not read the column {column}", fix


def _overlaps(key: str, rules: Sequence[LayerRule]) -> Iterator[tuple[Place, str, str]]:
    for position, rule in enumerate(rules):
        for earlier in range(position):
            shared = _shared(rules[earlier], rule)
            if shared:
                fact = f"{key}[{earlier}] ({rules[earlier].entry}) already names {shared}"
                yield (key, position, "layers"), fact, "name each layer in one rule"
                break


def _shared(first: LayerRule, second: LayerRule) -> str | None:
    """The layers that both rules name, for a message; None where they share none."""
    if first.layers == "all":
        return "all layers"
    if second.layers == "all":
        return "some of all layers"
    layers = sorted({*first.indices(0)} & {*second.indices(0)})
    return f"layer{'s' if len(layers) > 1 else ''} {', '.join(map(str, layers))}" if layers else None


def _metric(recipe: Recipe) -> Iterator[tuple[Place, str, str]]:
    from edgeattn.metrics import metric_names

    names = metric_names(recipe.task.kind)
    wanted = recipe.accept.metric
    if wanted is not None and wanted not in names:
        yield ("accept", "metric"), f"{wanted!r} is not a metric of {recipe.task.kind}", did_you_mean(wanted, names)
