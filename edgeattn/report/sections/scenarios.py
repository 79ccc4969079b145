"""The other scenarios: throughput in batches, requests that arrive at random, and tokens one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from edgeattn.report import text
from edgeattn.report.blocks import Block, Notes, Section, Table, Text
from edgeattn.report.drawing import drawn
from edgeattn.report.figures import known
from edgeattn.report.pictures.data import Line, Point
from edgeattn.report.subject import Session, Subject

_OFFLINE = "Throughput: batches one after the other, with nobody waiting for a single answer."
_SERVER = (
    "Server: requests arrive at random (seeded Poisson arrivals, the same schedule for every engine). Latency counts "
    "from the moment a request was due, so that waiting in the queue is part of it."
)
_DECODE = (
    "Writing token by token: the time of one more token, with what was read before carried along. The length is that "
    "of the context so far; the state is what has to be kept for it."
)
_FIGURES = {"offline": "ms_per_sample", "decode": "ms_per_token"}


def section(subject: Subject) -> Section | None:
    blocks: list[Block] = []
    for name, of in (("offline", _offline), ("server", _server), ("decode", _decode)):
        sessions = subject.sessions(f"bench-{name}")
        for place, session in enumerate(sessions):
            blocks += of(subject, session, f"{name}{place}")
    return Section("scenarios", "Other scenarios", blocks, ("p99",)) if blocks else None


def _offline(subject: Subject, session: Session, name: str) -> list[Block]:
    document = session.document
    head = [text.unit(document), "batch size", "engine", "samples a second", "ms a sample", "beside the reference"]
    rows = _rows(
        session,
        lambda cell, engine: [text.number(engine.get("samples_per_s")), text.number(engine.get("ms_per_sample"))],
        batch=True,
    )
    return [
        Text(_OFFLINE),
        *_curve(subject, session, name, "ms a sample"),
        Table(session.series("throughput"), head, rows, numbers=(0, 1, 3, 4)),
        *_notes(session),
    ]


def _server(subject: Subject, session: Session, name: str) -> list[Block]:
    times = ["p50 ms", "p90 ms", "p99 ms"]
    head = [text.unit(session.document), "engine", "offered a second", "completed a second", *times, "queue",
            "beside the reference"]  # fmt: skip

    def figures(cell: Mapping[str, Any], engine: Mapping[str, Any]) -> list[str]:
        rates = [engine.get("rate_per_s", cell.get("rate_per_s")), engine.get("completed_per_s")]
        times = [engine.get(figure) for figure in ("p50_ms", "p90_ms", "p99_ms")]
        return [
            *map(text.number, [*rates, *times]),
            "overloaded: its queue grows" if engine.get("overloaded") else "keeps up",
        ]

    return [
        Text(_SERVER),
        Table(session.series("requests at random"), head, _rows(session, figures), numbers=(0, 2, 3, 4, 5, 6)),
        *_notes(session),
    ]


def _decode(subject: Subject, session: Session, name: str) -> list[Block]:
    head = [f"{text.unit(session.document)} in the context", "engine", "ms a token", "tokens a second", "state MB",
            "beside the reference"]  # fmt: skip
    rows = _rows(
        session,
        lambda cell, engine: [
            text.number(engine.get(figure)) for figure in ("ms_per_token", "tokens_per_s", "state_mb")
        ],
    )
    return [
        Text(_DECODE),
        *_curve(subject, session, name, "ms a token"),
        Table(session.series("token by token"), head, rows, numbers=(0, 2, 3, 4)),
        *_notes(session),
    ]


def _rows(
    session: Session, figures: Callable[[Mapping[str, Any], Mapping[str, Any]], list[str]], *, batch: bool = False
) -> list[list[str]]:
    rows = []
    for cell in session.document["cells"]:
        for name in session.names:
            speedup = (cell.get("speedups") or {}).get(name)
            beside = "-" if name == session.names[0] else text.NA
            said = text.verdict(speedup, session.names[0]) if speedup else beside
            first = [text.length(cell), *([str(cell["batch_size"])] if batch else [])]
            rows.append([*first, name, *figures(cell, cell["contestants"][name]), said])
    return rows


def _curve(subject: Subject, session: Session, name: str, measure: str) -> list[Block]:
    """The figure of a scenario against length, where it was measured at several."""
    document = session.document
    figure = _FIGURES[str(document["scenario"])]
    lines = []
    for place, each in enumerate(session.names):
        values = [(cell["length"], known(cell["contestants"][each].get(figure), figure)) for cell in document["cells"]]
        points = [Point(int(length), value) for length, value in values if length is not None and value is not None]
        lines.append(Line(each, place, points))
    if any(len({point.length for point in line.points}) < 2 for line in lines):
        return []
    unit = text.unit(document)
    return [
        drawn(
            subject, "curves", name,
            title=session.series(f"{measure} against length, in {unit}"),
            alt=f"Line chart of {measure} at each length. The table below has its figures.",
            key=[(each, place) for place, each in enumerate(session.names)],
            lines=lines, unit=unit, measure=measure,
        )
    ]  # fmt: skip


def _notes(session: Session) -> list[Block]:
    document = session.document
    when = f"Measured {str(document.get('created_utc', text.NA))[:10]}, {document.get('pairs', text.NA)} pairs."
    return [Notes([when, *(str(each) for each in document.get("notes") or [])])]
