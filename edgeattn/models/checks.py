"""Checks a model's folder before it is loaded: safetensors only, complete, finite, and no code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from edgeattn.errors import ModelError
from edgeattn.models.files import CONFIG, INDEX, PROCESSOR_FILES, WEIGHTS, weight_files, weights_digest
from edgeattn.models.jsonfile import read_object

_REMOTE_CODE = ("auto_map", "custom_pipelines")
_COUNT = re.compile("layer|block|depth|expert|head")  # in the name of a config's key
_MAX_COUNT = 10_000


def check_folder(folder: Path) -> None:
    """Raise ModelError unless `folder` holds a config without remote code and valid, finite safetensors weights."""
    check_files(folder)
    for path in weight_files(folder):
        check_finite(path)


def check_files(folder: Path) -> None:
    """The checks of `check_folder` that read no tensor, and take milliseconds."""
    if not folder.is_dir():
        raise ModelError("no such model folder", where=str(folder), fix="check model.source in the recipe")
    check_config(folder / CONFIG)
    for name in PROCESSOR_FILES:
        if name.endswith(".json") and (folder / name).is_file():
            read_object(folder / name)
    weights = weight_files(folder)
    found = {path.name: check_safetensors(path) for path in weights}
    if weights[0].name != WEIGHTS:
        _check_index(folder / INDEX, found)


def check_config(path: Path) -> dict[str, Any]:
    """The parsed config.json. Raises ModelError where it is missing, not JSON, or asks for remote code or too much."""
    config = read_object(path)
    for key, count in _counts(config):  # transformers makes lists of that many items
        if count > _MAX_COUNT:
            raise ModelError(f"{key} is {count}", where=str(path), fix=f"correct {key}, or save the model again")
    for key in _REMOTE_CODE:
        if key in config:
            raise ModelError(
                f"{key} asks to run code that came with the model",
                where=str(path),
                fix=f"remove {key} if transformers has the architecture itself; edgeattn never runs remote code",
            )
    return config


def check_safetensors(path: Path) -> set[str]:
    """The names of the tensors in `path`.

    Raises ModelError for a truncated file, a huge header, and tensors that overlap or leave the file. safetensors
    checks this in the header alone; nothing of the size it claims is allocated.
    """
    try:
        with safe_open(path, framework="np") as tensors:
            return set(tensors.keys())
    except SafetensorError as error:
        raise _invalid(path, error) from error


def check_finite(path: Path) -> None:
    """Raise ModelError naming the first tensor that holds NaN or an infinity."""
    try:
        with safe_open(path, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 (safe_open is not a mapping)
                values = tensors.get_tensor(name)
                if values.is_floating_point() and not bool(values.isfinite().all()):
                    bad = int((~values.isfinite()).sum())
                    raise ModelError(
                        f"tensor {name!r} holds {bad} NaN or infinite of {values.numel()} values",
                        where=str(path),
                        fix="the model is damaged; take an earlier checkpoint",
                    )
    except SafetensorError as error:
        raise _invalid(path, error) from error


def check_digest(folder: Path, expected: str | None) -> str:
    """The digest of the weights in `folder`. Raises ModelError naming both where it is not the expected one."""
    found = weights_digest(weight_files(folder))
    if expected is not None and found != expected:
        raise ModelError(
            f"digest mismatch: the recipe says {expected}, the weights are {found}",
            where=str(folder),
            fix="if the new weights are meant, put their digest into the recipe",
        )
    return found


def _counts(config: dict[str, Any]) -> Iterator[tuple[str, int]]:
    for key, value in config.items():
        if isinstance(value, dict):  # the config of a part, such as text_config
            yield from _counts(value)
        elif isinstance(value, int) and _COUNT.search(key):
            yield key, value


def _check_index(index: Path, found: dict[str, set[str]]) -> None:
    """Raise ModelError unless the index lists exactly the tensors of each shard."""
    for tensor, name in read_object(index)["weight_map"].items():
        if tensor not in found[name]:
            raise ModelError(
                f"tensor {tensor!r} is not in {name}", where=str(index), fix="copy or download the model again"
            )
        found[name].remove(tensor)
    for name, left in found.items():
        if left:
            raise ModelError(
                f"tensor {min(left)!r} of {name} is not in the index",
                where=str(index),
                fix="copy or download the model again",
            )


def _invalid(path: Path, error: SafetensorError) -> ModelError:
    said = str(error).removeprefix("Error while deserializing header: ")
    return ModelError(f"not a valid safetensors file: {said}", where=str(path), fix="copy or download it again")
