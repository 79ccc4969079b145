"""The other scenarios, such as throughput in batches, requests at random, and tokens one by one: a part for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeattn.bench.scenarios import DEFAULT, SCENARIOS
from edgeattn.report import text
from edgeattn.report.blocks import Block, Notes, Section, Text
from edgeattn.report.by_cell import by_cell
from edgeattn.report.drawing import drawn
from edgeattn.report.evidence import session_of
from edgeattn.report.figures import known
from edgeattn.report.pictures.data import Line, Point
from edgeattn.report.subject import Session, Subject

_SAID = {
    "offline": "Throughput: batches one after the other, with nobody waiting for a single answer.",
    "server": "Requests that arrive at random, the same schedule for every engine. Latency counts from the moment a "
    "request was due, so that waiting in the queue is part of it.",
    "decode": "Writing token by token: the time of one more token, with what was read before carried along as the "
    "state. The length is that of the context so far.",
}


def section(subject: Subject) -> Section | None:
    blocks: list[Block] = []
    for name in SCENARIOS:
        sessions = [] if name == DEFAULT else subject.sessions(session_of(name))
        if sessions and name in _SAID:
            blocks.append(Text(_SAID[name]))
        for place, session in enumerate(sessions):
            blocks += _of(subject, session, f"{name}{place}")
    return Section("scenarios", "Other scenarios", blocks, ("p50", "p90", "p99")) if blocks else None


def _of(subject: Subject, session: Session, name: str) -> list[Block]:
    document, reference = session.document, session.names[0]
    own = text.scenario(document).columns
    head = [*(title for title, _ in own), "p50 ms", "p90 ms", "p99 ms", f"beside {reference}"]
    keys = [*(key for _, key in own), "p50_ms", "p90_ms", "p99_ms"]

    def row(cell: Mapping[str, Any], each: str) -> list[str]:
        beside = "-" if each == reference else text.verdict(cell["speedups"][each], reference)
        return [*(text.number(cell["contestants"][each].get(key)) for key in keys), beside]

    return [
        *_curve(subject, session, name),
        by_cell(session, f"scenario {document['scenario']}", head, row, words=1),
        Notes([*text.timing_notes(document), *text.validity(document)]),
    ]


def _curve(subject: Subject, session: Session, name: str) -> list[Block]:
    """The figure that the scenario compares against length, where it was measured at several."""
    document = session.document
    figure = str(document.get("figure"))
    lines = []
    for place, each in enumerate(session.names):
        values = [(cell["length"], known(cell["contestants"][each].get(figure), figure)) for cell in document["cells"]]
        points = [Point(int(length), value) for length, value in values if length is not None and value is not None]
        lines.append(Line(each, place, points))
    if any(len({point.length for point in line.points}) < 2 for line in lines):
        return []
    measure, unit = figure.replace("_", " "), text.unit(document)
    return [
        drawn(
            subject, "curves", name,
            title=session.series(f"{document['scenario']}: {measure} against length, in {unit}"),
            alt=f"Line chart of {measure} at each length. The table below has its figures.",
            key=[(each, place) for place, each in enumerate(session.names)],
            lines=lines, unit=unit, measure=measure,
        )
    ]  # fmt: skip
