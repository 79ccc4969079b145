"""Where a gate's document goes: the terminal, and a folder with gate.json, gate.md and junit.xml."""

from __future__ import annotations

from pathlib import Path

from edgeattn.gate import junit, markdown, text
from edgeattn.gate.document import Document
from edgeattn.report.table import lines, show
from edgeattn.store import disk_errors, replacing, write_json


def save(document: Document, out: Path) -> None:
    """Write the three files, each whole or not at all. Raises ResourceError where `out` cannot be written."""
    with disk_errors(out.parent, "choose another --out"):
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / "gate.json", document.model_dump(mode="json", by_alias=True))
        for name, content in (("gate.md", markdown.render(document)), ("junit.xml", junit.render(document))):
            with replacing(out / name) as temporary:
                temporary.write_text(content, encoding="utf-8")


def print_document(document: Document) -> None:
    """The table, the reasons and the verdict on stdout."""
    show(text.HEAD, [text.figures(row, document.unit) for row in document.rows])
    lines([*text.sentences(document), text.headline(document)])
