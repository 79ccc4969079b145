"""Which files make a model's folder, where its weights are, and what their digest is."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from edgeattn.errors import ModelError
from edgeattn.models.jsonfile import read_object
from edgeattn.store import sha256_file

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"  # of weights in several files, the shards
TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt", "vocab.json", "merges.txt",
    "spm.model", "sentencepiece.bpe.model",
)  # fmt: skip
PROCESSOR_FILES = (*TOKENIZER_FILES, "preprocessor_config.json")
# All that is read of a model, beside its shards; pickles and code are never part of it.
FILES = (CONFIG, WEIGHTS, INDEX, *PROCESSOR_FILES)
_SHARD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}\.safetensors")
_SAVE = "save the model again with save_pretrained"
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


def model_files(folder: Path) -> list[Path]:
    """The files of `folder` that are part of the model. Raises ModelError where it has no weights."""
    weights = weight_files(folder)
    index = [folder / INDEX] if weights != [folder / WEIGHTS] else []
    others = [folder / name for name in (CONFIG, *PROCESSOR_FILES) if (folder / name).is_file()]
    return others + index + weights


def weight_files(folder: Path) -> list[Path]:
    """The file that holds the weights, or their shards by name. Raises ModelError where there are none."""
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if (folder / INDEX).is_file():
        names = shards_of(folder / INDEX)
        for name in names:
            if not (folder / name).is_file():
                raise ModelError(
                    f"the shard {name} is missing", where=str(folder), fix="copy or download the model again"
                )
        return [folder / name for name in names]
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in _PICKLES)
    if pickles:
        raise ModelError(
            f"{pickles[0]} is a pickle, which can run code when it is loaded; weights must be {WEIGHTS}",
            where=str(folder),
            fix="convert it where you trust it: model.save_pretrained(folder, safe_serialization=True)",
        )
    raise ModelError(
        f"no {WEIGHTS}, and no {INDEX} with its shards", where=str(folder), fix="save the model with save_pretrained"
    )


def shards_of(index: Path) -> list[str]:
    """The names of the shards in `index`, sorted. Raises ModelError for one that is no plain file name."""
    places = read_object(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise ModelError("weight_map: not a map from tensors to files", where=str(index), fix=_SAVE)
    for tensor, name in places.items():
        if not isinstance(name, str) or not _SHARD.fullmatch(name):
            raise ModelError(
                f"weight_map: tensor {tensor!r} is in {name!r}, not in a .safetensors file beside the index",
                where=str(index),
                fix=_SAVE,
            )
    return sorted(set(places.values()))


def weights_digest(weights: list[Path]) -> str:
    """The digest of a model's weights: the SHA-256 of the file.

    Of shards it is the SHA-256 of what `sha256sum SHARD...` prints for them, sorted by name.
    """
    if len(weights) == 1 and weights[0].name == WEIGHTS:
        return sha256_file(weights[0])
    lines = (f"{sha256_file(path).removeprefix('sha256:')}  {path.name}\n" for path in weights)
    return f"sha256:{hashlib.sha256(''.join(lines).encode()).hexdigest()}"
