"""Energy of one inference, with what the sensor covers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgeattn.report import text
from edgeattn.report.blocks import Block, Notes, Section, Text
from edgeattn.report.by_cell import by_cell
from edgeattn.report.drawing import drawn
from edgeattn.report.energy import notes
from edgeattn.report.figures import known
from edgeattn.report.pictures.data import Bar
from edgeattn.report.subject import Session, Subject

SCOPES = {
    "module": "module",
    "package": "processor package",
    "gpu": "GPU alone",
    "wall": "whole device at the wall",
    "partial": "some of the supplies",
    "model": "estimate",
}


def section(subject: Subject) -> Section | None:
    sessions = subject.sessions()
    if not sessions:
        return None
    blocks: list[Block] = []
    scopes = {str(engine["energy_scope"]) for each in sessions for engine in _engines(each) if engine["energy_scope"]}
    if len(scopes) > 1:
        named = ", ".join(sorted(SCOPES.get(scope, scope) for scope in scopes))
        blocks.append(Text(f"The scopes differ ({named}): these energies do not compare.", bad=True))
    for place, session in enumerate(sessions):
        blocks += _of(subject, session, f"energy{place}")
    return Section("energy", "Energy", blocks, ("gross, net", "scope"))


def _engines(session: Session) -> list[dict[str, object]]:
    return [engine for cell in session.document["cells"] for engine in cell["contestants"].values()]


def _of(subject: Subject, session: Session, name: str) -> list[Block]:
    document, names = session.document, session.names
    said = [f"{note}." for note in notes(document)]
    if all(engine["energy_mj"] is None for engine in _engines(session)):
        why = said or ["no meter was found: `edgeattn doctor` says what this machine has."]
        return [Text(f"{session.series('n/a')}: {' '.join(why)}")]
    longest = max(document["cells"], key=lambda cell: cell["length"] or 0)
    bars = []
    for place, each in enumerate(names):
        engine = longest["contestants"][each]
        gross, net = known(engine["energy_mj"], "energy_mj"), known(engine.get("energy_net_mj"), "energy_net_mj")
        if gross is not None:
            bars.append(Bar(place, gross, f"{text.number(gross)} mJ", None if net is None else max(0.0, gross - net)))
    at = text.at(document, longest)
    title = f"energy of one inference{f' at {at}' if at else ''}, mJ"
    return [
        drawn(
            subject, "bars", name, title=session.series(title),
            alt=f"Bar chart: {', '.join(bar.said for bar in bars)}. Hatched: what the idle machine draws anyway.",
            key=[(each, place) for place, each in enumerate(names)], groups=[(_shares(bars), bars)],
        ),
        by_cell(
            session, "energy of one inference", ["gross mJ", "net mJ", "power W", "scope"],
            lambda cell, each: _row(cell["contestants"][each]), words=1,
        ),
        Notes(said),
    ]  # fmt: skip


def _shares(bars: Sequence[Bar]) -> str:
    return "gross, mJ" if all(bar.part is None for bar in bars) else "gross, mJ; hatched: what the idle machine draws"


def _row(engine: Mapping[str, Any]) -> list[str]:
    scope = engine["energy_scope"]
    figures = (engine["energy_mj"], engine.get("energy_net_mj"), engine.get("watts"))
    return [*map(text.number, figures), SCOPES.get(str(scope), str(scope)) if scope else text.NA]
