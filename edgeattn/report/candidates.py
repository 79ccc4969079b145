"""The candidates that were built and timed on the target, and why one of them ships: what build.json says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from edgeattn.manifest import SIDES
from edgeattn.report import text

Row = Mapping[str, Any]  # a candidate
SHIPPED = "shipped"


def of_side(build: Mapping[str, Any], side: str) -> list[Row]:
    """The candidates of a side, the fastest at the longest length first, those without a time last."""
    longest = [None, *lengths_of(build)][-1]

    def order(row: Row) -> float:
        latency = None if longest is None else latency_at(row, longest)
        return math.inf if latency is None else latency

    return sorted((row for row in build["candidates"] if row["side"] == side), key=order)


def rows_of(build: Mapping[str, Any], most: int | None = None) -> tuple[list[str], list[list[str]], list[str]]:
    """For the terminal: head and rows of a table of both sides, and lines below it.

    most: candidates of a side; the shipped one is always among them. All when None.
    """
    head, cells, below = ["engine"], [], []
    for side in SIDES:
        rows = of_side(build, side)
        first = rows[:most] + [row for row in rows[most:] if most is not None and row["state"] == SHIPPED]
        names, found = table_of(build, first, [])
        head = ["engine", *names]
        cells += [[side, *row] for row in found]
        if len(rows) > len(first):
            below.append(f"{len(rows) - len(first)} more {side} candidates: see the report")
        if said := because(build, side):
            below.append(f"{side}: {said}")
    return head, cells, below + notes(build)


def because(build: Mapping[str, Any], side: str) -> str:
    """Why the engine of a side ships; empty where it has none."""
    return str((build.get(side) or {}).get("because", ""))


def notes(build: Mapping[str, Any]) -> list[str]:
    """How to read the latencies, and the runtimes of the target that are missing."""
    missing = [f"{why}: its engines were not tried" for why in build.get("runtimes_left_out", {}).values()]
    if any(row.get("few_rounds") for row in build["candidates"]):
        return ["~ timed for a moment only, because others of its kind were clearly faster", *missing]
    return missing


def table_of(
    build: Mapping[str, Any], rows: Sequence[Row], metrics: Sequence[str]
) -> tuple[list[str], list[list[str]]]:
    """Head and rows of a table of candidates, with the values of `metrics`."""
    lengths = lengths_of(build)
    head = ["candidate", *columns(lengths), "result", "method", "runtime", "on disk", "cosine", *metrics]
    cells = [
        [
            str(row["name"]),
            *(_said(row, length) for length in lengths),
            f"{row['state']}: {row['why']}" if row.get("why") else str(row["state"]),
            str(row["method"]),
            f"{row['runtime']}, {row['configuration']}" if row.get("configuration") else str(row["runtime"]),
            text.megabytes(row["bytes"]),
            text.number(row["cosine"], 4),
            *(text.number((row["metrics"] or {}).get(name), 4) for name in metrics),
        ]
        for row in rows
    ]
    return head, cells


def columns(lengths: Sequence[str]) -> list[str]:
    """Heads of columns of latencies."""
    return [f"ms at {length}" if length.isdigit() else "ms" for length in lengths]


def _said(row: Row, length: str) -> str:
    latency = latency_at(row, length)
    return text.number(latency) + (" ~" if latency is not None and row.get("few_rounds") else "")


def lengths_of(build: Mapping[str, Any]) -> list[str]:
    """The lengths at which candidates were timed, ascending; "whole" for inputs of one size."""
    found = dict.fromkeys(str(length) for row in build["candidates"] for length in row["latency_ms"] or {})
    return sorted(found, key=lambda length: int(length) if length.isdigit() else 0)


def latency_at(row: Row, length: str) -> float | None:
    """Milliseconds of a candidate at a length of `lengths_of`; None where it was not timed."""
    times = {str(key): value for key, value in (row["latency_ms"] or {}).items()}
    return times.get(length)
