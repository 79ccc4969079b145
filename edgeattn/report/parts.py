"""The parts of report.html. All of them escape: callers hand over plain text, never markup."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from edgeattn.report import text

_LONG = 48  # characters


def section(title: str, body: str) -> str:
    """A section; `body` is markup, made of the other parts."""
    return f"<section><h2>{escape(title)}</h2>\n{body}</section>"


def paragraph(sentence: str) -> str:
    """A paragraph."""
    return f"<p>{escape(sentence)}</p>\n"


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], *, marked: int | None = None) -> str:
    """A table. marked: the row that is set in bold. Long cells break into lines, short ones do not."""
    lines = ["<div class='wide'><table><thead><tr>", *(f"<th>{escape(str(cell))}</th>" for cell in head)]
    lines.append("</tr></thead><tbody>")
    for place, row in enumerate(rows):
        said = [shown(cell) for cell in row]
        cells = "".join(f"<td{' class=long' * (len(cell) > _LONG)}>{escape(cell)}</td>" for cell in said)
        lines.append(f"<tr class='marked'>{cells}</tr>" if place == marked else f"<tr>{cells}</tr>")
    return "".join(lines) + "</tbody></table></div>\n"


def fact_list(pairs: Iterable[tuple[str, Any]]) -> str:
    """Names and values."""
    rows = (f"<dt>{escape(str(name))}</dt><dd>{escape(shown(value))}</dd>" for name, value in pairs)
    return f"<dl>{''.join(rows)}</dl>\n"


def shown(value: Any) -> str:
    """A value of JSON as text."""
    if value is None:
        return text.NA
    if isinstance(value, float):
        return text.number(value, 4)
    if isinstance(value, (list, tuple)):
        return ", ".join(map(shown, value)) or "-"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {shown(item)}" for key, item in value.items()) or "-"
    return str(value)
