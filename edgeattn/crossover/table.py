"""The crossover document on the terminal: ratios by length, and the length from which each variant is faster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from edgeattn.report import text
from edgeattn.report.table import lines, show

_AROUND = {False: "without", True: "with"}


def show_crossover(document: Mapping[str, Any], stream: TextIO | None = None) -> None:
    """Print a crossover document to `stream`, stdout when None."""
    lengths = list(dict.fromkeys(cell["length"] for cell in document["cells"]))
    for line in _head(document):
        lines([line], stream)
    head = ("attention", "projections", *(f"N={length}" for length in lengths), "pays from N")
    rows = [row for projections in (False, True) for row in _rows(document, projections)]
    show(head, rows, stream)
    lines(_footnotes(document), stream)


def _head(document: Mapping[str, Any]) -> list[str]:
    machine = document["machine"]
    return [
        f"{document['heads']} heads of {document['head_dim']}, batch {document['batch_size']}, "
        f"{'causal' if document['causal'] else 'bidirectional'}, {'with' if document['key_mask'] else 'without'} a key "
        f"mask, {document['precision']}",
        f"{machine['cpu_model'] or 'unknown processor'}, {document['threads']} threads, {document['runtime']['name']} "
        f"{document['runtime']['version']}",
        "dense: milliseconds; below it, how many times faster than dense (~: the interval includes 1)",
    ]


def _rows(document: Mapping[str, Any], projections: bool) -> list[tuple[str, ...]]:
    cells = [cell for cell in document["cells"] if cell["projections"] == projections]
    around = _AROUND[projections]
    dense = [text.number(cell["dense"]["ms"] if cell["dense"] else None) for cell in cells]
    rows: list[tuple[str, ...]] = [("dense, ms", around, *dense, "")]
    for pays in document["pays"]:
        if pays["projections"] == projections:
            found = (cell["variants"].get(pays["variant"]) for cell in cells)
            factors = (_factor(each["speedup"] if each else None) for each in found)
            rows.append((pays["variant"], around, *factors, _pays(pays, [cell["length"] for cell in cells])))
    return rows


def _factor(speedup: Mapping[str, Any] | None) -> str:
    if speedup is None:
        return text.NA
    told_apart = speedup["low"] is None or not speedup["low"] <= 1 <= speedup["high"]
    value = speedup["ratio"]
    return ("" if told_apart else "~") + (f"{value:.2f}" if value < 10 else text.number(value))


def _pays(pays: Mapping[str, Any], lengths: Sequence[int]) -> str:
    if pays["pays_from"] is None:
        return f"not up to {lengths[-1]}" if lengths else text.NA
    if pays["pays_from"] == lengths[0]:
        return f"{lengths[0]} or below"
    estimate = pays["estimate"]
    return str(pays["pays_from"]) + (f" (about {text.number(estimate, 2)})" if estimate else "")


def _footnotes(document: Mapping[str, Any]) -> list[str]:
    confidence = {
        found["speedup"]["confidence"]
        for cell in document["cells"]
        for found in cell["variants"].values()
        if found["speedup"]
    }
    notes = [f"fastest form of {name}: {forms}" for name, forms in _forms(document)]
    for share in confidence - {None}:
        notes.append(f"pays from: the length from which the whole interval ({share * 100:.1f} %) stays above 1")
    return notes + list(document["notes"])


def _forms(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """For each attention with several forms: in how many cells each form was the fastest."""
    counts: dict[str, dict[str, int]] = {}
    for cell in document["cells"]:
        for name, found in {"dense": cell["dense"], **cell["variants"]}.items():
            if found and len(found["forms_ms"]) > 1:
                tally = counts.setdefault(name, dict.fromkeys(found["forms_ms"], 0))
                tally[found["form"]] += 1
    return [
        (name, ", ".join(f"{form} in {count} of {sum(tally.values())}" for form, count in tally.items()))
        for name, tally in counts.items()
    ]
