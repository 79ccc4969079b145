"""Which releases of a device take which candidates: what check.json says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgeattn.report import text
from edgeattn.report.parts import paragraph, table

Document = Mapping[str, Any]
_FINDING = ("", "node", "operator", "finding", "releases", "remedy")
_NOT_RUN = "Pre-flight: not run, TensorRT for RTX was not installed (edgeattn[rtx])."
_RUN = (
    "Pre-flight: TensorRT for RTX {version} parsed and built the graph, strongly typed, for SM {built_for} in place of "
    "SM {sm}, without a GPU. It proves nothing about the speed, nor about an older TensorRT."
)


def grid(document: Document) -> tuple[list[str], list[list[str]]]:
    """Head and rows of a table: a row per candidate, a column per parser, and one for the pre-flight.

    "-": the candidate is not for that runtime.
    """
    candidates = document["candidates"]
    columns = list(dict.fromkeys(_title(release) for each in candidates for release in each["releases"]))
    rows = []
    for candidate in candidates:
        passed = {_title(release): "yes" if release["passed"] else "no" for release in candidate["releases"]}
        cells = [passed.get(column, "-") for column in columns]
        rows.append([str(candidate["name"]), *cells, preflight(candidate["preflight"])])
    head = ["candidate", *columns, "pre-flight"]
    return head, rows


def finding_rows(findings: Sequence[Document], releases: int) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Head and rows of a table of findings. releases: how many parsers there are."""
    rows: list[tuple[str, ...]] = [
        (
            str(finding["severity"]),
            str(finding["node"]) or "-",
            str(finding["operator"]) or "-",
            f"{finding['fact']} [{finding['rule']}]",
            "all" if len(finding["releases"]) == releases else ", ".join(finding["releases"]),
            str(finding["remedy"]),
        )
        for finding in findings
    ]
    return _FINDING, rows


def preflight(built: Document | None) -> str:
    """A pre-flight in a few words."""
    if built is None:
        return "not run"
    if built["passed"]:
        return f"built in {text.number(built['seconds'])} s"
    problem = built["problems"][0]
    place = f"{problem['operator']} {problem['node']}: " if problem["node"] else ""
    return f"refused: {place}{problem['reason']}"


def notes(document: Document) -> list[str]:
    """What the pre-flight was, and which candidates were left out."""
    built = next((each["preflight"] for each in document["candidates"] if each["preflight"]), None)
    version = document["preflight"]["tensorrt_rtx"]
    said = _RUN.format(version=version, built_for=built["built_for"], sm=built["sm"]) if built else _NOT_RUN
    return [said, *(f"left out: {each}" for each in document["left_out"])]


def markup(document: Document) -> str:
    """For report.html: the grid, the errors, and the notes."""
    head, rows = grid(document)
    body = table(head, rows)
    for candidate in document["candidates"]:
        errors = [finding for finding in candidate["findings"] if finding["severity"] == "error"]
        if errors:
            head_, cells = finding_rows(errors, len(candidate["releases"]))
            body += f"{paragraph(candidate['name'])}{table(head_, cells)}"
    return body + "".join(map(paragraph, notes(document)))


def _title(release: Document) -> str:
    """A short name of a parser, for the head of a column."""
    name = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT for RTX"}.get(release["runtime"], release["runtime"])
    return f"{name} {release['version']}" if release["version"] and release["runtime"] == "tensorrt" else str(name)
