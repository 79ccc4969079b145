"""What a model folder must be before anything of it is loaded: safetensors only, whole, finite, and no code."""

from __future__ import annotations

import json
import struct
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from edgeattn.errors import ModelError
from edgeattn.store import sha256_file

WEIGHTS = "model.safetensors"
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_MAX_HEADER_BYTES = 100 * 1024**2  # the format's own limit
_REMOTE_CODE = ("auto_map", "custom_pipelines")
_ITEM_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2,
    "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1,
}  # fmt: skip


def check_folder(folder: Path) -> None:
    """Raise ModelError unless `folder` holds a config without remote code and sound, finite safetensors weights."""
    check_files(folder)
    check_finite(folder / WEIGHTS)


def check_files(folder: Path) -> None:
    """What of `check_folder` needs no weights to be read."""
    if not folder.is_dir():
        raise ModelError("no such model folder", where=str(folder), fix="check model.source in the recipe")
    check_config(folder / "config.json")
    weights = folder / WEIGHTS
    if not weights.is_file():
        pickles = sorted(path.name for path in folder.iterdir() if path.suffix in _PICKLES)
        if pickles:
            raise ModelError(
                f"{pickles[0]} is a pickle, which can run code when it is loaded; weights must be {WEIGHTS}",
                where=str(folder),
                fix="convert it where you trust it: model.save_pretrained(folder, safe_serialization=True)",
            )
        raise ModelError(f"no {WEIGHTS}", where=str(folder), fix="save the model with save_pretrained")
    check_safetensors(weights)


def check_config(path: Path) -> dict[str, Any]:
    """The parsed config.json. Raises ModelError where it is missing, not JSON, or asks for remote code."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(
            "no config.json", where=str(path.parent), fix="give a folder saved by save_pretrained"
        ) from None
    except (ValueError, RecursionError) as error:
        raise ModelError(f"config.json is not JSON: {error}", where=str(path)) from error
    if not isinstance(config, dict):
        raise ModelError("config.json is not an object", where=str(path))
    for key in _REMOTE_CODE:
        if key in config:
            raise ModelError(
                f"{key} asks to run code that came with the model",
                where=str(path),
                fix=f"remove {key} if transformers has the architecture itself; edgeattn never runs remote code",
            )
    return config


def check_safetensors(path: Path) -> None:
    """Raise ModelError for a truncated file, a huge header, or tensors that overlap or leave the file.

    The header is read alone; nothing of the size it claims is allocated.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(8)
        if len(prefix) < 8:
            raise ModelError(f"truncated: {size} bytes", where=str(path), fix="copy or download it again")
        (length,) = struct.unpack("<Q", prefix)
        if length > _MAX_HEADER_BYTES or length > size - 8:
            raise ModelError(f"its header claims {length} bytes of a file of {size}", where=str(path))
        try:
            header = json.loads(file.read(length))
        except (ValueError, RecursionError) as error:
            raise ModelError(f"its header is not JSON: {error}", where=str(path)) from error
    if not isinstance(header, dict):
        raise ModelError("its header is not an object", where=str(path))
    data = size - 8 - length
    spans = []
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        try:
            start, end = (int(offset) for offset in entry["data_offsets"])
            shape, item = entry["shape"], _ITEM_BYTES[entry["dtype"]]
            expected = item * int(np.prod([int(n) for n in shape], dtype=object)) if shape else item
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"tensor {name!r} is described wrongly: {error}", where=str(path)) from error
        if not 0 <= start <= end <= data:
            raise ModelError(
                f"truncated: tensor {name!r} ends at byte {end} of {data}",
                where=str(path),
                fix="copy or download it again",
            )
        if end - start != expected:
            raise ModelError(f"tensor {name!r} has {end - start} bytes, its shape needs {expected}", where=str(path))
        spans.append((start, end, name))
    spans.sort()
    for (_, end, before), (start, _, name) in pairwise(spans):
        if start < end:
            raise ModelError(f"tensors {before!r} and {name!r} overlap", where=str(path))


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
        raise ModelError(f"not a sound safetensors file: {error}", where=str(path)) from error


def check_digest(path: Path, expected: str | None) -> str:
    """The file's digest. Raises ModelError naming both where it is not the expected one."""
    found = sha256_file(path)
    if expected is not None and found != expected:
        raise ModelError(
            f"digest mismatch: the recipe says {expected}, the file is {found}",
            where=str(path),
            fix="if the new weights are meant, put their digest into the recipe",
        )
    return found
