"""Results on stdout: a table on a terminal, aligned plain text elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from edgeattn.plaintext import plain
from edgeattn.report import candidates, text

Document = Mapping[str, Any]
_ENGINE = ("engine", "method", "p50 ms", "p90 ms", "p99 ms")
_SHIPPED = ("cold start ms", "memory", "on disk", "energy")
_METRIC = ("metric", "shipped", "teacher", "floor", "")


def bench_head(document: Document) -> tuple[str, ...]:
    """The columns of `bench_rows`; beside the usual ones, those of its scenario."""
    own = (head for head, _ in text.scenario(document).columns)
    return (text.unit(document), *_ENGINE, *own, *_SHIPPED)


def bench_rows(document: Document) -> list[tuple[str, ...]]:
    """One row per length and contestant."""
    own = [key for _, key in text.scenario(document).columns]
    return [
        (
            text.length(cell),
            name,
            document["contestants"][name]["method"],
            text.latency(engine),
            text.number(engine["p90_ms"]),
            text.number(engine.get("p99_ms")),
            *(text.number(engine.get(key)) for key in own),
            text.number(document["contestants"][name]["cold_start_ms"]),
            text.memory(engine),
            text.megabytes(document["contestants"][name]["disk_bytes"]),
            text.energy(engine),
        )
        for cell in document["cells"]
        for name, engine in cell["contestants"].items()
    ]


def verify_rows(document: Document) -> list[tuple[str, ...]]:
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


def show_bench(document: Document, stream: TextIO | None = None) -> None:
    """Print a bench document: its table, the ratios, the length from which each contestant pays, and notes."""
    show(bench_head(document), bench_rows(document), stream)
    names = text.others(document)
    paying = [(name, text.pays(document, name)) for name in names]
    paid = [said if len(names) == 1 else f"{name}: {said}" for name, said in paying if said]
    lines([*text.verdicts(document), *paid, *text.footnotes(document), *text.validity(document)], stream)


def show_build(document: Document, stream: TextIO | None = None, *, most: int | None = None) -> None:
    """Print a build document: its candidates, and why which of them ships.

    most: candidates of a side; all when None.
    """
    head, rows, below = candidates.rows_of(document, most)
    show(head, rows, stream)
    lines(below, stream)


def show_verify(document: Document, stream: TextIO | None = None) -> None:
    """Print a verify document."""
    show(_METRIC, verify_rows(document), stream)
    lines(["passed" if document["passed"] else "FAILED", *document["reasons"]], stream)


def show_hosts(results: Sequence[tuple[str, Document]], stream: TextIO | None = None) -> None:
    """Print the documents of several hosts in one table: all of `bench`, or all of `verify`.

    results: (the host's name, its document).
    """
    if "metrics" in results[0][1]:
        show(("host", *_METRIC), [(host, *row) for host, each in results for row in verify_rows(each)], stream)
        lines([f"{host}: {'; '.join(each['reasons']) or 'passed'}" for host, each in results], stream)
        return
    show(
        ("host", *bench_head(results[0][1])),
        [(host, *row) for host, each in results for row in bench_rows(each)],
        stream,
    )
    lines(
        [f"{host}: {line}" for host, each in results for line in (*text.verdicts(each), *text.validity(each))], stream
    )
    lines(list(dict.fromkeys(note for _, each in results for note in text.footnotes(each))), stream)


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
