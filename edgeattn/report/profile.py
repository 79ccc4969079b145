"""A profile on the terminal: the kinds of work of each engine, then its layers in one line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TextIO

from edgeattn.report import text
from edgeattn.report.table import lines, show

Document = Mapping[str, Any]
_HEAD = ("engine", "kind", "ms", "share", "operators", "of roofline")
_MOST = 8  # kinds of an engine
_LOST = 0.01  # share of the operations below which nothing is said
_OWN = 1.25  # the operators' time by the timed inference, above which much of it is the profiler's


def show_profile(document: Document, stream: TextIO | None = None) -> None:
    """Print a profile document to `stream`, stdout when None."""
    lines(["", "Where the time goes:"], stream)
    show((text.unit(document), *_HEAD), list(_rows(document)), stream)
    lines([*_layers(document), *notes(document)], stream)


def _rows(document: Document) -> Iterator[tuple[str, ...]]:
    for name, cell in _cells(document):
        shown = cell["kinds"][:_MOST]
        rest = cell["kinds"][_MOST:]
        for kind in shown:
            yield (text.length(cell), name, kind["kind"], *_numbers(kind), _reached(kind.get("of_roofline")))
        if rest:
            summed = {key: sum(kind[key] for kind in rest) for key in ("ms", "share", "operators")}
            yield (text.length(cell), name, f"{len(rest)} kinds more", *_numbers(summed), "")
        whole = {"ms": cell["total_ms"], "share": 1.0, "operators": sum(kind["operators"] for kind in cell["kinds"])}
        yield (text.length(cell), name, "all operators", *_numbers(whole), _reached(cell.get("of_roofline")))


def _numbers(kind: Document) -> tuple[str, str, str]:
    return text.number(kind["ms"]), f"{kind['share']:.0%}", str(kind["operators"])


def _reached(share: float | None) -> str:
    if share is None:
        return text.NA
    return f"{share:.0%}" + (" **" if share > 1 else "")


def _layers(document: Document) -> Iterator[str]:
    for name, cell in _cells(document):
        parts = ", ".join(f"{each['layer']}: {text.number(each['ms'])}" for each in cell["layers"])
        yield f"{name}{_at(document, cell)}, ms by layer: {parts}"


def notes(document: Document) -> Iterator[str]:
    """How to read a profile: what the profiler cost, and what the roofline is."""
    for name, contestant in document["contestants"].items():
        if contestant["unavailable"]:
            yield f"{name}: no profile: {contestant['unavailable']}"
    for name, cell in _cells(document):
        yield f"{name}{_at(document, cell)}: {_slowed(cell)}"
        lost = 1 - (cell.get("counted") or 1)
        if lost > _LOST:
            yield f"{name}{_at(document, cell)}: {lost:.0%} of the operations are in no operator that says its nodes"
    if any(cell["timed_ms"] and cell["total_ms"] > _OWN * cell["timed_ms"] for _, cell in _cells(document)):
        yield (
            "Operators take longer than a timed inference: most of a small operator's time is the profiler's own, or "
            "another load"
        )
    roofline = document.get("roofline") or {}
    if basis := roofline.get("basis"):
        yield f"Of roofline: the least time that {basis} allow for the counted operations and bytes, by the time taken."
    if reason := roofline.get("unavailable"):
        yield f"Of roofline: {text.NA}: {reason}"
    if any((kind.get("of_roofline") or 0) > 1 for _, cell in _cells(document) for kind in cell["kinds"]):
        yield f"** more than the roofline: {roofline['above']}"


def _at(document: Document, cell: Document) -> str:
    said = text.at(document, cell)
    return f" at {said}" if said else ""


def _slowed(cell: Document) -> str:
    """How an inference under the profiler compares with a timed one."""
    operators, inference = (text.number(cell[key]) for key in ("total_ms", "inference_ms"))
    said = f"operators {operators} ms of an inference of {inference} ms under the profiler"
    if not cell["timed_ms"]:
        return said
    ratio = cell["inference_ms"] / cell["timed_ms"]
    return f"{said}, {text.number(ratio, 2)} x the timed {text.number(cell['timed_ms'])} ms"


def _cells(document: Document) -> Sequence[tuple[str, Document]]:
    """(contestant, cell), by length and then by contestant."""
    found = [
        (name, cell) for name, contestant in document["contestants"].items() for cell in contestant["cells"]
    ]  # fmt: skip
    return sorted(found, key=lambda each: each[1]["length"] or 0)
