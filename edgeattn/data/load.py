"""From a recipe's source to a table with the columns `text`, `text_pair`, `score`, `image`, `label`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict, load_dataset
from datasets.exceptions import DatasetGenerationError

from edgeattn.data.builtin import load_builtin
from edgeattn.errors import DataError
from edgeattn.recipe import inside
from edgeattn.recipe.schema import Source
from edgeattn.registry import did_you_mean

_FORMATS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "json",
    ".json": "json",
    ".txt": "text",
    ".parquet": "parquet",
}
_NO_ROWS = "check the file, or choose another split"
_COLUMNS = ("text", "text_pair", "score", "image", "label")


def _suffix(path: Path) -> str:
    """The suffix that tells the format, a final .gz left out."""
    return Path(path.stem).suffix if path.suffix == ".gz" else path.suffix


def load_rows(source: Source, root: Path) -> Dataset:
    """The rows of `source`, their columns renamed to ours; `root` is where file names start.

    Raises DataError for what is missing, empty or unreadable.
    """
    kind, _, name = source.source.partition(":")
    if kind == "builtin":
        rows = Dataset.from_dict(load_builtin(name, source.split))
    elif kind == "hub":
        rows = load_dataset(name, split=source.split, revision=source.revision)
    else:
        rows = _load_file(source, inside(root, source.source))
    rows = _rename(rows, source)
    if not len(rows):
        raise DataError("no rows", where=source.source, fix=_NO_ROWS)
    if source.limit:
        # Spread evenly: the first so many would be of a few topics or classes in a set that is sorted by them.
        rows = rows.select(np.linspace(0, len(rows) - 1, min(source.limit, len(rows))).astype(int))
    for column in rows.column_names:
        cells = rows.data.column(column)
        if cells.null_count:
            first = cells.is_null().index(True).as_py()
            raise DataError(
                f"{column} is missing in {cells.null_count} of {len(rows)} rows, first in row {first + 1}",
                where=source.source,
                fix="fill these rows in, or remove them",
            )
    return rows


def _load_file(source: Source, path: Path) -> Dataset:
    suffix = _suffix(path)
    if suffix not in _FORMATS:
        raise DataError(
            f"{path.name} is of no known format", fix=f"known: {', '.join(sorted(_FORMATS))}, each also .gz"
        )
    options: dict[str, Any] = {}
    if _FORMATS[suffix] == "csv":
        options["sep"] = "\t" if suffix == ".tsv" else ","
        # Only an empty cell is missing: "NA", "None" and "null" are texts.
        options |= {"keep_default_na": False, "na_values": [""]}
        if source.names:
            options["names"] = list(source.names)
        if not source.quoting:
            options["quoting"] = 3  # csv.QUOTE_NONE
    try:
        return load_dataset(_FORMATS[suffix], data_files={"train": str(path)}, split="train", **options)
    except StopIteration as error:  # what the json reader says of an empty file
        raise DataError("no rows", where=source.source, fix=_NO_ROWS) from error
    except (DatasetGenerationError, ValueError, OSError) as error:
        cause = error.__cause__ or error
        raise DataError(
            f"cannot be read as {suffix[1:]}: {cause}",
            where=source.source,
            fix="check the file, and `names` and `quoting` for csv and tsv",
        ) from error


def _rename(rows: Dataset | DatasetDict, source: Source) -> Dataset:
    wanted = {ours: theirs for ours in _COLUMNS if (theirs := getattr(source.columns, ours)) is not None}
    for ours, theirs in wanted.items():
        if theirs not in rows.column_names:
            raise DataError(
                f"no column {theirs!r} for {ours}",
                where=source.source,
                fix=did_you_mean(theirs, rows.column_names),
            )
    rows = rows.rename_columns({theirs: ours for ours, theirs in wanted.items() if ours != theirs})
    return rows.select_columns([name for name in rows.column_names if name in _COLUMNS])
