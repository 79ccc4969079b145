"""Reads a recipe's source into rows with the columns `text`, `text_pair`, `score`, `image`, `label`."""

from __future__ import annotations

import gzip
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow.parquet
from datasets import Array3D, Dataset, Value, load_dataset
from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError

from edgeattn.data.builtin import load_builtin
from edgeattn.data.formats import FORMATS, KNOWN, suffix_of
from edgeattn.data.rows import Rows
from edgeattn.errors import DataError, DeviceError
from edgeattn.recipe import inside
from edgeattn.recipe.schema import Source
from edgeattn.registry import did_you_mean

_COLUMNS = ("text", "text_pair", "score", "image", "label")
_QUOTE_NONE = 3  # csv.QUOTE_NONE


def load_rows(source: Source, root: Path) -> Rows:
    """The rows of `source`, their columns renamed to ours; `root` is the folder that file names start from.

    Raises DataError for what is missing, empty or unreadable, and DeviceError where the hub cannot be reached. Values
    are checked by the methods of `Rows`, when a task reads them.
    """
    kind, _, name = source.source.partition(":")
    if kind == "builtin":
        table = Dataset.from_dict(load_builtin(name, source.split))
    elif kind == "hub":
        table = _load_hub(source, name)
    else:
        table = _load_file(source, inside(root, source.source))
    table = _rename(table, source)
    if not len(table):
        raise _no_rows(source)
    numbers = None
    if source.limit and source.limit < len(table):
        # Spread evenly: in a set sorted by topic or class the first rows would be of a few of them.
        kept = np.linspace(0, len(table) - 1, source.limit).astype(int)
        table, numbers = table.select(kept), (kept + 1).tolist()
    return Rows(_columns(table, source, root), source.source, numbers)


def _columns(table: Dataset, source: Source, root: Path) -> dict[str, Any]:
    path = root / source.source
    try:
        columns = {name: _images(table) if name == "image" else table[name][:] for name in table.column_names}
    except UnicodeDecodeError as error:  # the json reader takes any bytes
        raise _unreadable(source, path, suffix_of(path), error) from error
    if FORMATS.get(suffix_of(path)) == "csv":
        # One cell that is no number makes the reader take the whole column for text.
        columns |= {name: [_number(cell) for cell in columns[name]] for name in ("score", "label") if name in columns}
    return columns


def _images(table: Dataset) -> Any:
    """The column as arrays, which take a fraction of the time of nested lists; as it is where it has several types."""
    feature = table.features["image"]
    while hasattr(feature, "feature"):  # a list of these
        feature = feature.feature
    numbers = isinstance(feature, (Value, Array3D)) and feature.dtype.startswith(("int", "uint", "float"))
    return (table.with_format("numpy") if numbers else table)["image"][:]


def _number(cell: Any) -> Any:
    try:
        return float(cell) if isinstance(cell, str) else cell
    except ValueError:
        return cell


@contextmanager
def _quiet() -> Iterator[None]:
    """The datasets library logs a failure, with the whole path, before it raises it: only -v shows that."""
    logger = logging.getLogger("datasets")
    level = logger.level
    if not logging.getLogger("edgeattn").isEnabledFor(logging.DEBUG):
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _load_hub(source: Source, name: str) -> Dataset:
    try:
        with _quiet():
            return load_dataset(name, split=source.split, revision=source.revision)
    except ConnectionError as error:
        raise DeviceError(
            "the hub cannot be reached and the data is not in its cache",
            where=source.source,
            fix="go online once, or name a local file as the source",
        ) from error
    except (DatasetNotFoundError, DatasetGenerationError, ValueError, OSError) as error:
        said = str(error.__cause__ or error).strip().splitlines()[0]
        raise DataError(
            f"cannot be loaded from the hub: {said}", where=source.source, fix="check the name, split and revision"
        ) from error


def _load_file(source: Source, path: Path) -> Dataset:
    suffix = suffix_of(path)
    if suffix not in FORMATS:
        raise DataError(f"{path.name} is of no known format", fix=f"known: {KNOWN}")
    options: dict[str, Any] = {}
    if FORMATS[suffix] == "csv":
        options["sep"] = "\t" if suffix == ".tsv" else ","
        # Only an empty cell is missing: "NA", "None" and "null" are texts.
        options |= {"keep_default_na": False, "na_values": [""]}
        if source.names:
            options["names"] = list(source.names)
        if not source.quoting:
            options["quoting"] = _QUOTE_NONE
    try:
        with _quiet():
            return load_dataset(FORMATS[suffix], data_files={"train": str(path)}, split="train", **options)
    except StopIteration as error:  # what the json reader raises for an empty file
        raise _no_rows(source) from error
    except (DatasetGenerationError, ValueError, OSError) as error:
        if _has_no_rows(path, suffix, header=not source.names):
            raise _no_rows(source) from error
        raise _unreadable(source, path, suffix, error) from error


def _no_rows(source: Source) -> DataError:
    remedy = "check the file" if ":" not in source.source else "choose another split"
    return DataError("no rows", where=source.source, fix=remedy)


def _has_no_rows(path: Path, suffix: str, *, header: bool) -> bool:
    """Whether an unreadable file is one without rows: the readers name that in ways of their own."""
    try:
        with _opened(path) as file:
            if suffix == ".parquet":
                return bool(pyarrow.parquet.read_metadata(file).num_rows == 0)
            lines = 0
            for line in file:
                lines += bool(line.strip())
                if lines > (FORMATS[suffix] == "csv" and header):
                    return False
            return True
    except (OSError, EOFError, pyarrow.ArrowException):
        return False


def _unreadable(source: Source, path: Path, suffix: str, error: Exception) -> DataError:
    cause = error.__cause__ or error
    chain = [cause, cause.__context__, cause.__cause__]
    if any(isinstance(link, UnicodeDecodeError) for link in chain):
        line = _line_that_is_not_utf8(path)
        where = f"{source.source}, line {line}" if line else source.source
        return DataError("is not UTF-8", where=where, fix="save it as UTF-8")
    said = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
    fix = "check the file"
    if FORMATS[suffix] == "csv":
        fix = "check the file, and `names` and `quoting` in the recipe"
    return DataError(f"cannot be read as {suffix[1:]}: {said}", where=source.source, fix=fix)


def _line_that_is_not_utf8(path: Path) -> int | None:
    with _opened(path) as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return None


def _opened(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def _rename(table: Dataset, source: Source) -> Dataset:
    wanted = {ours: theirs for ours in _COLUMNS if (theirs := getattr(source.columns, ours)) is not None}
    for ours, theirs in wanted.items():
        if theirs not in table.column_names:
            raise DataError(
                f"no column {theirs!r} for {ours}",
                where=source.source,
                fix=did_you_mean(theirs, table.column_names),
            )
    # A column of ours that another one takes the name of goes first.
    table = table.remove_columns([name for name in wanted if name in table.column_names and wanted[name] != name])
    table = table.rename_columns({theirs: ours for ours, theirs in wanted.items() if ours != theirs})
    return table.select_columns([name for name in table.column_names if name in _COLUMNS])
