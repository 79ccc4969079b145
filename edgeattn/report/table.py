"""Results on stdout: a table on a terminal, aligned plain text elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from edgeattn.plaintext import plain
from edgeattn.report import text

_HEAD = ("tokens", "engine", "method", "p50 ms", "p90 ms", "cold start ms", "memory", "on disk", "energy")


def bench_rows(document: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Two rows per length, dense and efficient."""
    rows: list[tuple[str, ...]] = []
    for cell in document["cells"]:
        for name in ("dense", "efficient"):
            side = cell[name]
            peak = side["peak_memory_mb"]
            rows.append(
                (
                    text.length(cell),
                    name,
                    side["method"],
                    text.latency(side),
                    text.number(side["p90_ms"]),
                    text.number(side["cold_start_ms"]),
                    text.NA if peak is None else f"{text.number(peak)} MB",
                    f"{text.number(side['disk_bytes'] / 1e6)} MB",
                    text.energy(side),
                )
            )
    return rows


def bench_lines(document: Mapping[str, Any]) -> list[str]:
    """The ratios, and notes on how to read the numbers."""
    lines = []
    for cell in document["cells"]:
        at = f"{text.length(cell)} tokens: " if cell["length"] else ""
        within = text.within(cell["speedup"])
        lines.append(f"{at}{text.verdict(cell['speedup'])}, interval {within}, {cell['speedup']['pairs']} pairs")
    return lines + text.footnotes(document)


def verify_rows(document: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """One row per metric."""
    return [
        (
            name,
            text.number(metric["value"], 4),
            text.number(metric["teacher"], 4),
            text.number(metric["floor"], 4) if metric["floor"] is not None else "-",
            {True: "passed", False: "FAILED", None: "-"}[metric["passed"]],
        )
        for name, metric in document["metrics"].items()
    ]


def show_bench(document: Mapping[str, Any], stream: TextIO | None = None) -> None:
    """Print a bench document."""
    show(_HEAD, bench_rows(document), stream)
    lines(bench_lines(document), stream)


def show_verify(document: Mapping[str, Any], stream: TextIO | None = None) -> None:
    """Print a verify document."""
    show(("metric", "shipped", "teacher", "floor", ""), verify_rows(document), stream)
    lines(["passed" if document["passed"] else "FAILED", *document["reasons"]], stream)


def show(head: Sequence[str], rows: Sequence[Sequence[str]], stream: TextIO | None = None) -> None:
    """Print a table to `stream` (stdout when None): with rich on a terminal, else as aligned plain text."""
    stream = stream or sys.stdout
    safe = [[plain(cell) for cell in row] for row in rows]
    if stream.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(*head)
        for row in safe:
            table.add_row(*map(Text, row))  # Text, because a string would be read as markup
        Console(file=stream).print(table)
        return
    widths = [max(map(len, column)) for column in zip(head, *safe, strict=True)]
    for row in ([*head], *safe):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        stream.write(line.rstrip() + "\n")


def lines(texts: Sequence[str], stream: TextIO | None = None) -> None:
    """Print lines to `stream` (stdout when None)."""
    for line in texts:
        (stream or sys.stdout).write(plain(line) + "\n")
