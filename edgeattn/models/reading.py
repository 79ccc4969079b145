"""Reads a model's files with other libraries: what they raise becomes a ModelError with the file and the key."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch.nn.modules.module import register_module_module_registration_hook
from transformers import AutoConfig, AutoTokenizer

from edgeattn.errors import DeviceError, EdgeattnError, ModelError
from edgeattn.models.files import CONFIG
from edgeattn.scratch import scratch

T = TypeVar("T")
_MAX_MODULES = 10_000  # far more than any model of an edge device has; a config may ask for a billion layers
_SEARCH_S = 5.0  # time to search for the wrong key
_FIELD = re.compile(r"Field '(\w+)' (.+)")  # transformers' words for a config's key of the wrong type


@contextmanager
def models_fault(place: Path, fix: str = "save the model again with save_pretrained") -> Iterator[None]:
    """Turns what other libraries raise inside into a ModelError at `place`, the model's folder or a file of it.

    Faults of the machine stay as they are (memory, disk, permissions); a missing library is a DeviceError.
    """
    try:
        yield
    except (EdgeattnError, MemoryError):
        raise
    except ImportError as error:
        raise DeviceError(_said(error), where=str(place), fix="install what this model needs") from error
    except Exception as error:  # tokenizers raises plain Exception, a config's values lead to any
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ModelError(_said(error), where=str(place), fix=fix) from error


def read(folder: Path, load: Callable[[Path], T], *files: str) -> T:
    """Returns `load(folder)`. Its failure becomes a ModelError that names the file and, if it is found, the key.

    files: the JSON files that `load` reads; the last is named where no single key is wrong.
    """
    try:
        with models_fault(folder / files[-1]):
            return load(folder)
    except ModelError as error:
        if error.where != str(folder / files[-1]):
            raise
        name, key = _culprit(folder, load, files)
        fact = error.fact if key is None or error.fact.startswith(key) else f"{key}: {error.fact}"
        raise ModelError(
            fact, where=str(folder / name), fix=f"correct {key or name}, or save the model again"
        ) from error


def empty_model(folder: Path, made_by: Any) -> Any:
    """The model that the config in `folder` describes, on the meta device: without weights, in evaluation mode.

    made_by: an Auto class of transformers. Raises ModelError where there is no such model.
    """

    def make(folder: Path) -> Any:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        with torch.device("meta"), _few_modules():
            return made_by.from_config(config, trust_remote_code=False, dtype=torch.float32).eval()

    return read(folder, make, CONFIG)


def load_tokenizer(folder: Path, inputs: tuple[str, ...]) -> Any:
    """The tokenizer in `folder`, checked to make `inputs` of a text. Raises ModelError where it cannot.

    It pads to the right, whatever the model was trained with: batches are cut to their longest sample on that side.
    """

    def load(folder: Path) -> Any:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, padding_side="right", local_files_only=True, trust_remote_code=False
        )
        if tokenizer.pad_token_id is None:  # such as GPT-2's; the mask hides padding, whatever its token
            tokenizer.pad_token = tokenizer.eos_token
        made = tokenizer(["a", "a b"], truncation=True, max_length=8, padding=True, return_tensors="np")
        for name in inputs:
            made[name].astype("int64")
        return tokenizer

    return read(folder, load, CONFIG, "special_tokens_map.json", "tokenizer_config.json", "tokenizer.json")


@contextmanager
def _few_modules() -> Iterator[None]:
    made = 0

    def count(*_: Any) -> None:
        nonlocal made
        made += 1
        if made > _MAX_MODULES:
            raise ValueError(f"a model of more than {_MAX_MODULES} modules")

    hook = register_module_module_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


def _said(error: Exception) -> str:
    field = _FIELD.search(str(error))
    if field:
        return f"{field[1]}: {field[2]}"
    if isinstance(error, KeyError):
        return f"there is no {error}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return lines[-1] if lines[0].endswith("(") else lines[0]  # some messages begin with a whole module


def _culprit(folder: Path, load: Callable[[Path], Any], files: tuple[str, ...]) -> tuple[str, str | None]:
    """(file, key) whose removal lets the model load; (last file, None) where no single key helps."""
    until = time.monotonic() + _SEARCH_S
    with scratch("model") as copy:
        for file in folder.iterdir():
            (copy / file.name).symlink_to(file.resolve())
        for name in files:
            if not (folder / name).is_file():
                continue
            document = json.loads((folder / name).read_text(encoding="utf-8"))
            (copy / name).unlink()
            for key in sorted(document, key=lambda key: _size(document[key]), reverse=True):
                if time.monotonic() > until:
                    break
                rest = {other: value for other, value in document.items() if other != key}
                (copy / name).write_text(json.dumps(rest), encoding="utf-8")
                with suppress(Exception):
                    load(copy)
                    return name, key
            (copy / name).write_text(json.dumps(document), encoding="utf-8")
    return files[-1], None


def _size(value: Any) -> float:
    return (
        abs(value) if isinstance(value, (int, float)) else 0
    )  # huge numbers first: likely wrong, and slow while they stay
