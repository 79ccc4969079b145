"""The crossover document on the terminal: ratios by length, and the length from which each variant is faster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import ascii_lowercase
from typing import Any, TextIO

from edgeattn.report import text
from edgeattn.report.table import lines, show

Document = Mapping[str, Any]
_AROUND = {False: "without", True: "with"}


def show_crossover(document: Document, stream: TextIO | None = None) -> None:
    """Print a crossover document to `stream`, stdout when None."""
    _show([("", document)], stream)


def show_crossovers(results: Sequence[tuple[str, Document]], stream: TextIO | None = None) -> None:
    """Print the documents of several hosts in one table. results: (the host's name, its document)."""
    _show(results, stream)


def _show(results: Sequence[tuple[str, Document]], stream: TextIO | None) -> None:
    """One table of all results; a host without a name has no column and no prefix."""
    named = any(host for host, _ in results)
    lengths = sorted({cell["length"] for _, document in results for cell in document["cells"]})
    runtimes = list(dict.fromkeys(name for _, document in results for name in document["runtimes"]))
    marks = dict(zip(runtimes, ascii_lowercase, strict=False)) if len(runtimes) > 1 else {}
    lines([_setting(results[0][1]), *(_prefixed(host, _machine(document)) for host, document in results)], stream)
    lines(["dense: milliseconds; below it, how many times faster than dense (~: the interval includes 1)"], stream)
    if marks:
        lines(
            [f"the letter is the runtime of the fastest form: {', '.join(f'{m} {r}' for r, m in marks.items())}"],
            stream,
        )
    head = ("attention", "projections", *(f"N={length}" for length in lengths), "pays from N")
    rows = [
        ((host, *row) if named else row)
        for projections in (False, True)
        for host, document in results
        for row in _rows(document, projections, lengths, marks)
    ]
    show(("host", *head) if named else head, rows, stream)
    lines([_prefixed(host, note) for host, document in results for note in _footnotes(document)], stream)


def _prefixed(host: str, line: str) -> str:
    return f"{host}: {line}" if host else line


def _setting(document: Document) -> str:
    return (
        f"{document['heads']} heads of {document['head_dim']}, batch {document['batch_size']}, "
        f"{'causal' if document['causal'] else 'bidirectional'}, {'with' if document['key_mask'] else 'without'} a key "
        f"mask, {document['precision']}"
    )


def _machine(document: Document) -> str:
    runtimes = ", ".join(f"{name} {version}" for name, version in document["runtimes"].items())
    return f"{document['machine']['cpu_model'] or 'unknown processor'}, {document['threads']} threads, {runtimes}"


def _rows(
    document: Document, projections: bool, lengths: Sequence[int], marks: Mapping[str, str]
) -> list[tuple[str, ...]]:
    cells = {cell["length"]: cell for cell in document["cells"] if cell["projections"] == projections}
    around = _AROUND[projections]
    sides = [cells[length]["dense"] if length in cells else None for length in lengths]
    dense = [_marked(text.number(side["ms"]), side, marks) if side else text.NA for side in sides]
    rows: list[tuple[str, ...]] = [("dense, ms", around, *dense, "")]
    for pays in document["pays"]:
        if pays["projections"] == projections:
            found = [cells[length]["variants"].get(pays["variant"]) if length in cells else None for length in lengths]
            factors = (_marked(_factor(each["speedup"]), each, marks) if each else text.NA for each in found)
            rows.append((pays["variant"], around, *factors, _pays(pays, list(cells))))
    return rows


def _marked(value: str, side: Mapping[str, Any], marks: Mapping[str, str]) -> str:
    return f"{value} {marks[side['runtime']]}" if marks and value != text.NA else value


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


def _footnotes(document: Document) -> list[str]:
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


def _forms(document: Document) -> list[tuple[str, str]]:
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
