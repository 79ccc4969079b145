"""Tables with a row per length and engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edgeattn.report import text
from edgeattn.report.blocks import Table
from edgeattn.report.subject import Session

Row = Callable[[Mapping[str, Any], str], Sequence[str]]


def by_cell(session: Session, title: str, head: Sequence[str], row: Row, *, words: int = 0) -> Table:
    """head: the columns after the length, which only sessions by length have, and the engine.

    row: what stands there for a cell and a contestant. words: how many of the last columns hold no figures.
    """
    lengths = [text.unit(session.document)] if session.by_length else []
    rows = [
        [*([text.length(cell)] if lengths else []), name, *row(cell, name)]
        for cell in session.document["cells"]
        for name in session.names
    ]
    first = len(lengths) + 1
    figures = [*range(len(lengths)), *range(first, first + len(head) - words)]
    return Table(session.series(title), [*lengths, "engine", *head], rows, numbers=figures)
