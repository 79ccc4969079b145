"""`edgeattn inspect`: a model's attention layers, and the variants that can replace them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgeattn.cli.console import common_options, emit
from edgeattn.errors import InputError


@click.command("inspect")
@click.argument("model")
@click.option("--revision", metavar="NAME", help="Commit, tag or branch of a hub model.")
@click.option("--length", type=click.IntRange(1, 1_000_000), metavar="N", help="Tokens to count FLOPs for.")
@common_options
def command(model: str, revision: str | None, length: int | None, as_json: bool) -> None:
    """List the attention layers of MODEL, what they cost, and which variants each can have.

    MODEL is hub:ORG/NAME, package:MODULE/FOLDER (inside an installed package), or a folder. Only its config is read.
    It needs the host half: see `edgeattn doctor`.
    """
    from edgeattn.models.inspection import inspect_model

    document = inspect_model(_folder(model, revision), length=length)
    emit(document, as_json, lambda: _print(document))


def _folder(model: str, revision: str | None) -> Path:
    from pydantic import ValidationError

    from edgeattn.models.locate import locate
    from edgeattn.recipe.schema import PretrainedModel

    if model.startswith(("hub:", "package:")):
        try:
            spec = PretrainedModel.model_validate({"source": model, "revision": revision})
        except ValidationError as error:
            wrong = error.errors()[0]
            raise InputError(f"{wrong['loc'][0]}: {wrong['msg']}", where=model) from error
        return locate(spec, Path())
    return Path(model)  # a path of the caller's own shell, unlike one in a recipe


def _print(document: dict[str, Any]) -> None:
    from edgeattn.report.table import lines, show

    shapes = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in document["inputs"].items())
    lines(
        [
            f"{document['architecture']}: {_count(document['parameters'])} parameters, "
            f"{_count(document['flops'])} FLOPs for {shapes}",
            "",
        ]
    )
    head = ("layer", "module", "attention", "heads", "tokens", "parameters", "FLOPs", "core FLOPs")
    rows = [
        (
            str(layer["index"]),
            layer["name"],
            " ".join([layer["attention"], *(word for word in ("causal", "cross", "bias") if layer[word])]),
            f"{layer['heads']} x {layer['head_dim']}",
            str(layer["tokens"]),
            _count(layer["parameters"]),
            _count(layer["flops"]),
            _count(layer["core_flops"]),
        )
        for layer in document["layers"]
    ]
    show(head, rows)
    kept = [f"{each['name']} stays as it is: {each['kind']} {each['reason']}" for each in document["left_out"]]
    lines(["", *_replaceable(document["layers"]), *kept])


def _replaceable(layers: list[dict[str, Any]]) -> list[str]:
    """One line per run of layers that can have the same variants."""
    from itertools import groupby

    said = []
    for names, run in groupby(layers, key=lambda layer: layer["variants"]):
        indices = [layer["index"] for layer in run]
        which = f"layer {indices[0]}" if len(indices) == 1 else f"layers {indices[0]}-{indices[-1]}"
        said.append(f"{which} can have {', '.join(names)}" if names else f"{which} must stay dense: nothing else fits")
    if not any(layer["variants"] for layer in layers):
        said.append("nothing of this model can be converted")
    return said


def _count(number: int) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return str(number)
