"""The kinds of files that samples are read from."""

from __future__ import annotations

from pathlib import PurePath

# suffix -> the loader of the datasets library
FORMATS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "json",
    ".json": "json",
    ".txt": "text",
    ".parquet": "parquet",
}
KNOWN = f"{', '.join(sorted(FORMATS))}, each also .gz"


def suffix_of(path: PurePath) -> str:
    """The suffix that gives a file's format, without a final .gz."""
    return PurePath(path.stem).suffix if path.suffix == ".gz" else path.suffix
