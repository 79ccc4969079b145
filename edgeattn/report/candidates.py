"""The candidates that were built and timed on the target, and why one of them ships: what build.json says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from edgeattn.manifest import SIDES
from edgeattn.report import text
from edgeattn.report.parts import paragraph, table

Row = Mapping[str, Any]  # a candidate
SHIPPED = "shipped"


def of_side(build: Mapping[str, Any], side: str) -> list[Row]:
    """The candidates of a side, the fastest at the longest length first, those without a time last."""
    longest = [None, *_lengths(build)][-1]

    def order(row: Row) -> float:
        latency = None if longest is None else _latency(row, longest)
        return math.inf if latency is None else latency

    return sorted((row for row in build["candidates"] if row["side"] == side), key=order)


def tables(build: Mapping[str, Any]) -> str:
    """For report.html: per side, its sentence and all of its candidates; the shipped one is in bold."""
    body = ""
    for side in SIDES:
        rows = of_side(build, side)
        if not rows:
            continue
        metrics = list(dict.fromkeys(name for row in rows for name in row["metrics"] or {}))
        head, cells = _cells(build, rows, metrics)
        shipped = [place for place, row in enumerate(rows) if row["state"] == SHIPPED]
        body += f"<h3>The {side} engine</h3>\n" + paragraph(because(build, side))
        body += table(head, cells, marked=shipped[0] if shipped else None)
    return body + "".join(map(paragraph, notes(build)))


def rows_of(build: Mapping[str, Any], most: int | None = None) -> tuple[list[str], list[list[str]], list[str]]:
    """For the terminal: head and rows of a table of both sides, and lines below it.

    most: candidates of a side; the shipped one is always among them. All when None.
    """
    head, cells, below = ["engine"], [], []
    for side in SIDES:
        rows = of_side(build, side)
        first = rows[:most] + [row for row in rows[most:] if most is not None and row["state"] == SHIPPED]
        names, found = _cells(build, first, [])
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


def _cells(build: Mapping[str, Any], rows: Sequence[Row], metrics: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    lengths = _lengths(build)
    times = [f"ms at {length}" if length.isdigit() else "ms" for length in lengths]
    head = ["candidate", *times, "", "method", "runtime", "on disk", "cosine", *metrics]
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


def _said(row: Row, length: str) -> str:
    latency = _latency(row, length)
    return text.number(latency) + (" ~" if latency is not None and row.get("few_rounds") else "")


def _lengths(build: Mapping[str, Any]) -> list[str]:
    found = dict.fromkeys(str(length) for row in build["candidates"] for length in row["latency_ms"] or {})
    return sorted(found, key=lambda length: int(length) if length.isdigit() else 0)


def _latency(row: Row, length: str) -> float | None:
    times = {str(key): value for key, value in (row["latency_ms"] or {}).items()}
    return times.get(length)
