"""Memory and size: on disk, the peak of the process, the runtime's arena, and the device's memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeattn.report import text
from edgeattn.report.blocks import Block, Section, Table, Text
from edgeattn.report.by_cell import by_cell
from edgeattn.report.drawing import drawn
from edgeattn.report.evidence import Document
from edgeattn.report.figures import known, mapping
from edgeattn.report.pictures.data import Bar
from edgeattn.report.subject import Session, Subject

_WHY = {
    "peak_memory_mb": "this system does not say the peak of a process",
    "arena_mb": "the runtime does not say what it has reserved, or an earlier version measured it",
    "device_memory_mb": "it runs on the processor, or the device does not say",
}
_FIGURES = {"peak_memory_mb": "peak memory", "arena_mb": "arena", "device_memory_mb": "device memory"}


def section(subject: Subject) -> Section | None:
    sessions = subject.sessions()
    if not sessions:
        return None
    blocks: list[Block] = []
    for place, session in enumerate(sessions):
        blocks += _of(subject, session, f"memory{place}")
    return Section("memory", "Memory and size", blocks, ("peak memory", "arena"))


def _of(subject: Subject, session: Session, name: str) -> list[Block]:
    document, names = session.document, session.names
    groups = _groups(session)
    disk = [
        [
            each,
            text.megabytes(facts["disk_bytes"]),
            str(facts["method"]),
            " ".join(str(word) for word in _runtime(facts["runtime"]) if word),
        ]
        for each in names
        for facts in [document["contestants"][each]]
    ]
    blocks: list[Block] = []
    if groups:
        said = "; ".join(f"{title}: {', '.join(bar.said for bar in bars)}" for title, bars in groups)
        blocks.append(
            drawn(
                subject, "bars", name, title=session.series("size on disk and memory"), alt=f"Bar chart. {said}.",
                key=[(each, place) for place, each in enumerate(names)], groups=groups,
            )
        )  # fmt: skip
    title = session.series("on disk: graph, weights and engine")
    blocks.append(Table(title, ["engine", "on disk", "method", "runtime"], disk, numbers=(1,)))
    known_here = [figure for figure in _FIGURES if any(each.get(figure) is not None for each in _engines(document))]
    if known_here:
        head = [f"{_FIGURES[figure]}, MB" for figure in known_here]

        def row(cell: Mapping[str, Any], each: str) -> list[str]:
            return [text.number(cell["contestants"][each].get(figure)) for figure in known_here]

        blocks.append(by_cell(session, "memory while it runs", head, row))
    unknown = [f"{title} ({_WHY[figure]})" for figure, title in _FIGURES.items() if figure not in known_here]
    return [*blocks, *([Text(f"Not known: {', '.join(unknown)}.")] if unknown else [])]


def _engines(document: Document) -> list[Mapping[str, Any]]:
    return [engine for cell in document["cells"] for engine in cell["contestants"].values()]


def _groups(session: Session) -> list[tuple[str, list[Bar]]]:
    """Bars of each figure that is known, at the longest length."""
    document, names = session.document, session.names
    longest = max(document["cells"], key=lambda cell: cell["length"] or 0)
    at = text.at(document, longest)
    sizes = [known(document["contestants"][each]["disk_bytes"], "disk_bytes") for each in names]
    found = [("on disk, MB", [None if size is None else size / 1e6 for size in sizes])]
    for figure, title in _FIGURES.items():
        values = [known(longest["contestants"][each].get(figure) or None, figure) for each in names]
        found.append((f"{title}{f' at {at}' if at else ''}, MB", values))
    bars = [(title, [_bar(place, mb) for place, mb in enumerate(values) if mb is not None]) for title, values in found]
    return [group for group in bars if group[1]]


def _bar(place: int, mb: float) -> Bar:
    return Bar(place, mb, f"{text.number(mb)} MB")


def _runtime(facts: object) -> list[object]:
    found = mapping(facts)
    return [found.get("runtime"), found.get("runtime_version")]
