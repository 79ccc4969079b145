"""Latency against length: the picture that matters, and its table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgeattn.bench.crossing import crossing
from edgeattn.report import text
from edgeattn.report.blocks import Block, Notes, Picture, Section, Table, Text
from edgeattn.report.by_cell import by_cell
from edgeattn.report.drawing import drawn
from edgeattn.report.evidence import Document
from edgeattn.report.figures import known, positive
from edgeattn.report.pictures.data import Line, Point, Row
from edgeattn.report.subject import Session, Subject

_SEPARATE = (
    "Each bundle was timed in a session of its own, against its own dense model. Read the ratios beside each other, "
    "not the milliseconds: to time the models against each other, run `edgeattn bench A B --out DIR`."
)


def section(subject: Subject) -> Section:
    sessions = subject.sessions()
    if not sessions:
        return Section("latency", "Latency", [Text("Not measured yet: run `edgeattn bench BUNDLE`.")])
    blocks: list[Block] = [Text(_SEPARATE)] if len(sessions) > 1 else []
    for place, session in enumerate(sessions):
        if len(sessions) > 1:
            blocks += pictures(subject, [session], f"latency{place}")
        blocks += _tables(session)
    by_length = any(cell["length"] is not None for session in sessions for cell in session.document["cells"])
    title = "Latency against length" if by_length else "Latency"
    words = (
        "dense",
        "efficient",
        "p50",
        "p90",
        "p99",
        "outliers",
        "x faster",
        "interval",
        "pair",
        "pays",
        "cold start",
    )
    return Section("latency", title, blocks, words)


def pictures(subject: Subject, sessions: Sequence[Session], name: str) -> list[Picture]:
    """Of one session: latencies and ratios. Of several: each bundle's ratio to its own dense model."""
    lengths = [cell["length"] for session in sessions for cell in session.document["cells"]]
    if None in lengths or len(set(lengths)) < 2:
        return [_in_pairs(subject, sessions, name)]
    if len(sessions) > 1:
        return [_ratios(subject, sessions, name)]
    return [_by_length(subject, sessions[0], name)]


def _by_length(subject: Subject, session: Session, name: str) -> Picture:
    document, unit = session.document, text.unit(session.document)
    lines = [_line(session, each, place) for place, each in enumerate(session.names)]
    others = session.names[1:]
    ratios = [ratio_line(session, each, place + 1) for place, each in enumerate(others)]
    found = crossing({cell["length"]: cell["speedups"][others[0]] for cell in document["cells"]})
    return drawn(
        subject, "curves", name,
        title=f"Latency of one inference against length, in {unit}",
        alt=f"Line chart of the median milliseconds per inference at each length. {' '.join(text.verdicts(document))}. "
        "The table below has its figures.",
        key=[(each, place) for place, each in enumerate(session.names)],
        lines=lines, ratios=ratios, unit=unit,
        measure="ms per inference: median, and range over processes",
        ratio=f"x faster than {text_label(session.names[0])}, with its interval",
        crossover=found.estimate if len(others) == 1 else None,
    )  # fmt: skip


def _ratios(subject: Subject, sessions: Sequence[Session], name: str) -> Picture:
    lines = [
        ratio_line(session, each, place)
        for place, (session, each) in enumerate((session, each) for session in sessions for each in session.names[1:])
    ]
    units = list(dict.fromkeys(text.unit(session.document) for session in sessions))
    return drawn(
        subject, "curves", name,
        title="How much faster each is than its own dense model, against length",
        alt="Line chart of the ratio to the own dense model at each length, with intervals.",
        key=[(line.name, line.place) for line in lines],
        lines=[], ratios=lines, unit=" or ".join(units), measure="",
        ratio="x faster than its own dense model, with interval",
    )  # fmt: skip


def _in_pairs(subject: Subject, sessions: Sequence[Session], name: str) -> Picture:
    rows: list[Row] = []
    for session in sessions:
        cells = session.document["cells"]
        for cell in cells:
            engines, reference = cell["contestants"], session.names[0]
            for place, each in enumerate(session.names[1:]):
                speedup = cell["speedups"][each]
                at = text.at(session.document, cell)
                rows.append(
                    Row(
                        ", ".join(word for word in (session.series(each), at) if word),
                        place + 1 if len(sessions) == 1 else len(rows) + 1,
                        positive(speedup["ratio"], "ratio"),
                        known(speedup["low"], "low"),
                        known(speedup["high"], "high"),
                        _pairs(engines[reference], engines[each]),
                    )
                )
    reference = "its own dense model" if len(sessions) > 1 else sessions[0].names[0]
    said = "; ".join(line for session in sessions for line in text.verdicts(session.document))
    return drawn(
        subject, "ratios", name,
        title=f"Speed beside {reference}, pair by pair",
        alt=f"Marks are ratios in one pair of processes, the bar is the interval, the stroke the estimate. {said}.",
        key=(), rows=rows, reference=reference,
    )  # fmt: skip


def _pairs(reference: Document, other: Document) -> list[float]:
    """The ratio in each pair; empty where the document does not keep the medians of its pairs."""
    before, after = reference.get("p50_ms_by_pair") or [], other.get("p50_ms_by_pair") or []
    return [positive(a, "p50_ms_by_pair") / positive(b, "p50_ms_by_pair") for a, b in zip(before, after, strict=False)]


def _line(session: Session, name: str, place: int) -> Line:
    points = []
    for cell in session.document["cells"]:
        engine = cell["contestants"][name]
        each = [positive(value, "p50_ms_by_pair") for value in engine.get("p50_ms_by_pair") or []]
        low, high = (min(each), max(each)) if each else (None, None)
        points.append(Point(int(cell["length"]), positive(engine["p50_ms"], "p50_ms"), low, high))
    return Line(session.series(name), place, points)


def ratio_line(session: Session, name: str, place: int) -> Line:
    """The ratios of a contestant to the reference, at each length."""
    points = []
    for cell in session.document["cells"]:
        speedup = cell["speedups"][name]
        low, high = known(speedup["low"], "low"), known(speedup["high"], "high")
        points.append(Point(int(cell["length"]), positive(speedup["ratio"], "ratio"), low, high))
    return Line(session.series(name), place, points)


def text_label(name: str) -> str:
    """A name that fits into a label."""
    return name if len(name) <= 24 else f"{name[:23]}…"


def _tables(session: Session) -> list[Block]:
    document, names, others = session.document, session.names, session.names[1:]
    lengths = [text.unit(document)] if session.by_length else []
    head = [*lengths, *(f"{name}, p50 ms" for name in names), *(f"{name} beside {names[0]}" for name in others)]
    rows = [
        [
            *([text.length(cell)] if lengths else []),
            *(text.latency(cell["contestants"][name]) for name in names),
            *(text.verdict(cell["speedups"][name], names[0]) for name in others),
        ]
        for cell in document["cells"]
    ]
    title = session.series("median time of one inference")
    return [
        Table(title, head, rows, numbers=range(len(names) + len(lengths))),
        by_cell(
            session,
            "slow inferences, and starting",
            ["p90 ms", "p99 ms", "outliers", "inferences timed", "cold start ms"],
            lambda cell, name: [
                *_tail(cell["contestants"][name]),
                text.number(document["contestants"][name]["cold_start_ms"]),
            ],
        ),
        Notes(text.timing_notes(document)),
    ]


def _tail(engine: Document) -> list[str]:
    counts: list[Any] = [engine.get("outliers"), engine.get("samples")]
    return [
        text.number(engine["p90_ms"]),
        text.number(engine.get("p99_ms")),
        *(text.NA if count is None else f"{count}" for count in counts),
    ]
