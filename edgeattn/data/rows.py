"""Samples as columns. What a task reads of them is checked whole, and an error names the file and the row."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeattn.errors import DataError
from edgeattn.validation import described


@dataclass(frozen=True)
class Rows:
    """Unchecked columns by our names: `text`, `text_pair`, `score`, `image`, `label`.

    Each method returns one column checked, or raises DataError with the first row that is wrong.
    """

    columns: Mapping[str, Sequence[Any]]
    source: str = "rows"  # for messages: the recipe's `source`
    numbers: Sequence[int] | None = None  # of each row in its source, from 1; None: they are the source's own order

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def __contains__(self, column: str) -> bool:
        return column in self.columns

    def texts(self, column: str) -> list[str]:
        """The column as texts, none of them blank."""

        def fault(value: Any) -> str | None:
            if not isinstance(value, str):
                return "is missing" if value is None else f"is {described(value)}, not a text"
            return None if value.strip() else "is blank"

        self._check(column, fault, "give a text in every row, or remove the row")
        return list(self.columns[column])

    def scores(self, column: str) -> np.ndarray:
        """The column as finite numbers: [S] float64."""

        def fault(value: Any) -> str | None:
            return None if _finite(value) else f"is {described(value)}, not a finite number"

        self._check(column, fault, "give a finite number in every row, or remove the row")
        return np.array(self.columns[column], np.float64)

    def labels(self, column: str, count: int) -> np.ndarray:
        """The column as classes from 0 to `count` - 1: [S] int64."""

        def fault(value: Any) -> str | None:
            if not _finite(value) or value != int(value):
                return f"is {described(value)}, not a whole number"
            return None if 0 <= value < count else f"{int(value)} is outside the task's {count} labels"

        self._check(column, fault, f"number the classes from 0 to {count - 1}, or change task.labels")
        return np.array(self.columns[column], np.float64).astype(np.int64)

    def images(self, column: str) -> np.ndarray:
        """The column as images of one shape: [S, channels, height, width] float32."""
        first: list[tuple[int, ...]] = []

        def fault(value: Any) -> str | None:
            image = _array(value)
            if image is None:
                return "is not an array of numbers"
            if image.ndim != 3:
                return f"has shape {list(image.shape)}, not [channels, height, width]"
            first[:] = first or [image.shape]
            if image.shape != first[0]:
                return f"has shape {list(image.shape)}, the first has {list(first[0])}"
            return None if bool(np.isfinite(image).all()) else "holds a value that is not a finite number"

        self._check(column, fault, "give nested lists of numbers, [channels][height][width], all of one shape")
        return np.stack([np.asarray(image, np.float32) for image in self.columns[column]])

    def _check(self, column: str, fault: Callable[[Any], str | None], fix: str) -> None:
        if column not in self.columns:
            raise DataError(f"no column {column!r}", where=self.source, fix=f"name it: columns: {{{column}: ...}}")
        wrong = [(row, said) for row, value in enumerate(_plain(self.columns[column])) if (said := fault(value))]
        if wrong:
            row, said = wrong[0]
            number = row + 1 if self.numbers is None else self.numbers[row]
            others = f"; {len(wrong)} of {len(self)} rows are wrong" if len(wrong) > 1 else ""
            raise DataError(f"{column} {said}{others}", where=f"{self.source}, row {number}", fix=fix)


def _plain(column: Sequence[Any]) -> Iterable[Any]:
    """The values of a column; those of a vector as Python numbers."""
    return column.tolist() if isinstance(column, np.ndarray) and column.ndim == 1 else column


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _array(value: Any) -> np.ndarray | None:
    """`value` as an array of numbers; None for anything else, such as ragged lists."""
    try:
        image = np.asarray(value)
    except ValueError:  # ragged
        return None
    return image if image.dtype.kind in "iuf" else None
