"""The candidates that were built and timed on the target, and why one of them ships: what build.json says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from edgeattn.report import text
from edgeattn.report.parts import paragraph, table

Row = Mapping[str, Any]  # a candidate
SIDES = ("efficient", "dense")
SHIPPED = "shipped"
_BRIEFLY = 5  # candidates of a side at the end of a compile


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
        body += f"<h3>The {side} engine</h3>\n" + paragraph(str((build.get(side) or {}).get("because", "")))
        body += table(head, cells, marked=shipped[0] if shipped else None)
    return body


def brief(build: Mapping[str, Any]) -> tuple[list[str], list[list[str]], list[str]]:
    """For the end of a compile: head and rows of a table with the first candidates of both sides, and notes.

    The shipped candidate is always among them.
    """
    head, cells, notes = ["engine"], [], []
    for side in SIDES:
        rows = of_side(build, side)
        first = rows[:_BRIEFLY]
        first += [row for row in rows[_BRIEFLY:] if row["state"] == SHIPPED]
        names, found = _cells(build, first, [])
        head = ["engine", *names]
        cells += [[side, *row] for row in found]
        if len(rows) > len(first):
            notes.append(f"{len(rows) - len(first)} more {side} candidates: see the report")
        if because := (build.get(side) or {}).get("because"):
            notes.append(f"{side}: {because}")
    return head, cells, notes


def _cells(build: Mapping[str, Any], rows: Sequence[Row], metrics: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    lengths = _lengths(build)
    times = [f"ms at {length}" if length.isdigit() else "ms" for length in lengths]
    head = ["candidate", *times, "", "method", "runtime", "on disk", "cosine", *metrics]
    cells = [
        [
            str(row["name"]),
            *(text.number(_latency(row, length)) for length in lengths),
            str(row["state"]),
            str(row["method"]),
            f"{row['runtime']}, {row['configuration']}" if row.get("configuration") else str(row["runtime"]),
            text.megabytes(row["bytes"]),
            text.number(row["cosine"], 4),
            *(text.number((row["metrics"] or {}).get(name), 4) for name in metrics),
        ]
        for row in rows
    ]
    return head, cells


def _lengths(build: Mapping[str, Any]) -> list[str]:
    found = dict.fromkeys(str(length) for row in build["candidates"] for length in row["latency_ms"] or {})
    return sorted(found, key=lambda length: int(length) if length.isdigit() else 0)


def _latency(row: Row, length: str) -> float | None:
    times = {str(key): value for key, value in (row["latency_ms"] or {}).items()}
    return times.get(length)
