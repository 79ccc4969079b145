"""Which releases of the device take which candidates."""

from __future__ import annotations

from edgeattn.report import check
from edgeattn.report.blocks import Block, Folded, Notes, Section, Table
from edgeattn.report.subject import Subject


def section(subject: Subject) -> Section | None:
    blocks: list[Block] = []
    for evidence, document in subject.documents("check"):
        head, rows = check.grid(document)
        blocks.append(Table(subject.headed(evidence, "which releases take which candidates"), head, rows))
        tables = []
        for candidate in document["candidates"]:
            errors = [finding for finding in candidate["findings"] if finding["severity"] == "error"]
            if errors:
                columns, cells = check.finding_rows(errors, candidate["releases"])
                tables.append(Table(str(candidate["name"]), [column or "severity" for column in columns], cells))
        if tables:
            blocks.append(Folded(subject.headed(evidence, "Why a release refuses a candidate"), tables))
        blocks.append(Notes(check.notes(document)))
    return (
        Section("parsers", "What its device's parsers take", blocks, ("parser", "pre-flight", "SM")) if blocks else None
    )
