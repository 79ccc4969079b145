"""A prediction on the terminal: the gain and the length that it pays from, then the table that both come from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TextIO

from edgeattn.report import text
from edgeattn.report.table import lines, show

Document = Mapping[str, Any]
_HEAD = ("power mode", "model", "form", "method", "runtime", "latency ms", "energy mJ", "GFLOP", "MB moved", "kernels",
         "most of it", "x faster")  # fmt: skip
_MOST = 12  # rows of candidates


def show_estimate(document: Document, stream: TextIO | None = None) -> None:
    """Print a document of `edgeattn.estimate.predict` to `stream`, stdout when None."""
    lines([*headlines(document), ""], stream)
    head = (document["unit"] or "length", *_HEAD)
    show(head, [row for each in document["comparisons"] for row in _pair(each)], stream)
    if document["of"] == "bundle":
        lines(["", f"all candidates, the fastest first{_in_mode(document)}:"], stream)
        show(head[:1] + head[2:8], list(_candidates(document)), stream)
    lines(["", "Predicted with these assumptions:", *(f"- {said}" for said in document["assumptions"])], stream)


def headlines(document: Document) -> list[str]:
    """The gain at the longest length in the usual power mode, and the length that it pays from."""
    mode = document["default_mode"]
    usual = [each for each in document["comparisons"] if each["mode"] == mode]
    if not usual:
        return ["Only one side can be predicted here: there is nothing to compare. Predicted, not measured."]
    longest = max(usual, key=lambda each: each["length"] or 0)
    at = f" at {longest['length']} {document['unit'] or 'long'}" if longest["length"] else ""
    where = f"{document['target']} ({mode})" if mode else document["target"]
    said = _gain(longest["speedup"], at_most=document["of"] == "recipe")
    pays = next((_pays(each, document["unit"] or "long") for each in document["pays"] if each["mode"] == mode), "")
    return [f"{said}{at} on {where}{pays}. Predicted, not measured."]


def _gain(speedup: float, *, at_most: bool) -> str:
    if speedup <= 1.005:
        return f"No faster than dense ({text.number(speedup, 2)} x)"
    return f"{'At most' if at_most else 'About'} {text.number(speedup, 2)} x faster than dense"


def _pays(pays: Document, unit: str) -> str:
    first, last = pays["tried"]
    if pays["pays_from"] is None:
        return f", pays at no length up to {last} {unit}"
    if pays["estimate"] is None:
        at = pays["pays_from"]
        return f", pays from {at} {unit}" + (" or fewer" if at == first else "")
    return f", pays from about {round(pays['estimate'], -1 if pays['estimate'] < 1000 else -2):.0f} {unit}"


def _pair(each: Document) -> list[tuple[str, ...]]:
    length, mode = text.length(each), each["mode"] or "-"
    return [
        (length, mode, side, row["form"], row["method"], row["runtime"], *_figures(row), row["bound"],
         text.number(each["speedup"], 2) if side == "efficient" else "")
        for side in ("dense", "efficient")
        if (row := each[side])
    ]  # fmt: skip


def _figures(row: Document) -> tuple[str, ...]:
    return (
        text.number(row["latency_ms"]),
        text.number(row["energy_mj"]),
        text.number(row["flops"] / 1e9),
        text.number(row["bytes"] / 1e6),
        str(row["kernels"]),
    )


def _candidates(document: Document) -> list[tuple[str, ...]]:
    rows = [row for row in document["rows"] if row["mode"] == document["default_mode"]]
    longest = max((row["length"] or 0) for row in rows)
    return [
        (text.length(row), row["side"], row["form"], row["method"], row["runtime"], *_figures(row)[:2])
        for row in rows
        if (row["length"] or 0) == longest
    ][:_MOST]


def _in_mode(document: Document) -> str:
    return f" ({document['default_mode']})" if document["default_mode"] else ""
