"""Where the time goes: operators of the runtime, by kind of work and by layer of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgeattn.report import profile, text
from edgeattn.report.blocks import Block, Facts, Folded, Notes, Section, Table, Text
from edgeattn.report.drawing import drawn
from edgeattn.report.evidence import Document
from edgeattn.report.figures import mapping, positive
from edgeattn.report.kinds import KINDS
from edgeattn.report.subject import Session, Subject

_ALL = "all operators"
_MOST_KINDS = 5  # beside "other"; the palette has six
_HOW = (
    "Not profiled yet: `edgeattn bench BUNDLE --profile` times every operator of the runtime and adds it up by layer "
    "and kind of work. `edgeattn estimate BUNDLE` predicts it without running anything."
)


def section(subject: Subject) -> Section:
    blocks: list[Block] = []
    for place, session in enumerate(subject.sessions("profile")):
        blocks += _of(subject, session, f"time{place}")
    return Section("time", "Where the time goes", blocks or [Text(_HOW)], ("roofline",) if blocks else ())


def _of(subject: Subject, session: Session, name: str) -> list[Block]:
    document = session.document
    contestants = {str(each): _longest(facts) for each, facts in document["contestants"].items()}
    cells = {each: cell for each, cell in contestants.items() if cell is not None}
    notes = Notes(list(profile.notes(document)))
    if not cells:
        return [notes]
    kinds = _kinds(list(cells.values()))
    rows = [(each, _by_kind(cell, kinds)) for each, cell in cells.items()]
    at = text.at({"unit": document.get("unit")}, next(iter(cells.values())))
    at = f" at {at}" if at else ""
    return [
        drawn(
            subject, "stacked", name,
            title=session.series(f"time of one inference{at} by kind of work, under the profiler"),
            alt="; ".join(f"{each}: {_said(parts)}" for each, parts in rows) + ". The table below has its figures.",
            rows=rows, kinds=kinds, measure="ms per inference, under the profiler",
        ),
        _kind_table(session.series("by kind of work"), cells),
        *_roofline_table(session.series("how near to the limit of the device"), cells),
        notes,
        Facts([(kind, KINDS[kind]) for kind in KINDS if any(kind in each for each in _names(cells))]),
        Folded(session.series("by layer of the model"), [_layer_table(session.series("time by layer"), cells)]),
        Folded(
            session.series("the most costly operators"),
            [_operator_table(session.series(each), cell) for each, cell in cells.items() if cell.get("operators")],
        ),
    ]  # fmt: skip


def _names(cells: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    return [[str(kind["kind"]) for kind in cell["kinds"]] for cell in cells.values()]


def _longest(facts: Document) -> Mapping[str, Any] | None:
    cells = facts["cells"]
    return max(cells, key=lambda cell: cell["length"] or 0) if cells else None


def _kinds(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """The kinds that take most, then "other"."""
    total: dict[str, float] = {}
    for cell in cells:
        for kind in cell["kinds"]:
            total[str(kind["kind"])] = total.get(str(kind["kind"]), 0.0) + (_ms(kind) or 0.0)
    ranked = sorted((kind for kind in total if kind != "other"), key=lambda kind: -total[kind])
    most = ranked if len(total) <= _MOST_KINDS + 1 and "other" not in total else ranked[:_MOST_KINDS]
    return [*most, *(["other"] if len(most) < len(total) else [])]


def _by_kind(cell: Mapping[str, Any], kinds: Sequence[str]) -> dict[str, float]:
    found = dict.fromkeys(kinds, 0.0)
    for kind in cell["kinds"]:
        found[str(kind["kind"]) if kind["kind"] in found else "other"] += _ms(kind) or 0.0
    if not sum(found.values()):
        raise ValueError("no operator took any time")
    return found


def _ms(part: Mapping[str, Any]) -> float | None:
    return None if not part["ms"] else positive(part["ms"], "ms")


def _said(parts: Mapping[str, float]) -> str:
    return ", ".join(f"{kind} {text.number(ms)} ms" for kind, ms in parts.items())


def _share(share: Any) -> str:
    return text.NA if share is None else f"{100 * float(share):.0f} %"


def _kind_table(title: str, cells: Mapping[str, Mapping[str, Any]]) -> Table:
    found = {each: {str(kind["kind"]): kind for kind in cell["kinds"]} for each, cell in cells.items()}
    head = ["kind of work", *(word for each in cells for word in (f"{each} ms", "share"))]
    rows = []
    for kind in dict.fromkeys(kind for kinds in found.values() for kind in kinds):
        parts = [mapping(found[each].get(kind)) for each in cells]
        figures = ((text.number(part.get("ms")), _share(part.get("share"))) if part else ("-", "-") for part in parts)
        rows.append([kind, *(word for pair in figures for word in pair)])
    return Table(title, head, rows, numbers=range(1, len(head)))


def _roofline_table(title: str, cells: Mapping[str, Mapping[str, Any]]) -> list[Table]:
    """The share of the roofline that each kind reaches, and all together; nothing where none is known."""
    found = {
        each: {**{str(kind["kind"]): kind.get("of_roofline") for kind in cell["kinds"]}, _ALL: cell.get("of_roofline")}
        for each, cell in cells.items()
    }
    if all(share is None for shares in found.values() for share in shares.values()):
        return []
    kinds = dict.fromkeys(kind for shares in found.values() for kind in shares if kind != _ALL)
    rows = [
        [kind, *(_share(found[each][kind]) if kind in found[each] else "-" for each in cells)]
        for kind in (*kinds, _ALL)
    ]
    return [Table(title, ["share of the roofline", *cells], rows, numbers=range(1, len(cells) + 1))]


def _layer_table(title: str, cells: Mapping[str, Mapping[str, Any]]) -> Table:
    found = {each: {str(part["layer"]): part for part in cell["layers"]} for each, cell in cells.items()}
    head = ["layer", *(word for each in cells for word in (f"{each} ms", "share"))]
    names = dict.fromkeys(layer for layers in found.values() for layer in layers)
    said = {"before": "before the first layer", "after": "after the last layer"}
    rows = [
        [
            said.get(layer, layer),
            *(
                word
                for each in cells
                for part in [found[each].get(layer)]
                for word in (text.number(part["ms"]) if part else "-", _share(part["share"]) if part else "-")
            ),
        ]
        for layer in names
    ]
    return Table(title, head, rows, numbers=range(1, len(head)))


def _operator_table(title: str, cell: Mapping[str, Any]) -> Table:
    rows = [
        [str(each["name"]), str(each["kind"]), str(each["layer"]), text.number(each["ms"]), _share(each["share"])]
        for each in cell["operators"]
    ]
    return Table(title, ["operator", "kind of work", "layer", "ms", "share"], rows, numbers=(3, 4))
