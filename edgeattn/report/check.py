"""Which releases of a device take which candidates: what check.json says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgeattn.report import text

Document = Mapping[str, Any]
_FINDING = ("", "node", "operator", "finding", "releases", "remedy")
_NOT_RUN = "Pre-flight: not run, TensorRT for RTX was not installed (edgeattn[rtx])."
_RUN = (
    "Pre-flight: TensorRT for RTX {version} parsed and built the graph, strongly typed, for SM {built_for}{instead}, "
    "without a GPU. It proves nothing about the speed, nor about an older TensorRT."
)
_NAMES = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT for RTX"}


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


def finding_rows(
    findings: Sequence[Document], releases: Sequence[Document]
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Head and rows of a table of findings, one row for all nodes with the same one. releases: the parsers."""
    nodes: dict[tuple[str, ...], list[str]] = {}
    for finding in findings:
        same = (
            str(finding["severity"]),
            str(finding["operator"]) or "-",
            f"{finding['fact']} [{finding['rule']}]",
            _concerned(finding["releases"], releases),
            str(finding["remedy"]),
        )
        nodes.setdefault(same, []).append(str(finding["node"]) or "-")
    rows = [(same[0], _first(named), *same[1:]) for same, named in nodes.items()]
    return _FINDING, rows


def _concerned(found: Sequence[str], releases: Sequence[Document]) -> str:
    """The releases that a finding is about, those of one runtime in a few words where it is all of them."""
    if len(found) == len(releases):
        return "all"
    shown: list[str] = []
    for runtime in dict.fromkeys(release["runtime"] for release in releases):
        of_it = [release["release"] for release in releases if release["runtime"] == runtime]
        about = [name for name in of_it if name in found]
        shown += [f"every {_NAMES.get(runtime, runtime)}"] if len(about) == len(of_it) > 1 else about
    return ", ".join(shown)


def _first(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


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
    said = _NOT_RUN
    if built:
        instead = "" if built["sm"] in (None, built["built_for"]) else f" in place of SM {built['sm']}"
        said = _RUN.format(version=version, built_for=built["built_for"], instead=instead)
    return [said, *(f"left out: {each}" for each in document["left_out"])]


def _title(release: Document) -> str:
    """A short name of a parser, for the head of a column."""
    name = _NAMES.get(release["runtime"], release["runtime"])
    return f"{name} {release['version']}" if release["version"] and release["runtime"] == "tensorrt" else str(name)
