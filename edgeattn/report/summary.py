"""The end of `edgeattn compile`: the headline, what was tried, the two tables, and the paths of bundle and report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TextIO

from edgeattn.bundle import Bundle
from edgeattn.manifest import INSTALL
from edgeattn.report import check
from edgeattn.report.table import lines, show, show_bench, show_build, show_verify
from edgeattn.report.text import headline

CANDIDATES = 5  # of a side that are shown; all of them are in the report


def show_bundle(bundle: Bundle, stream: TextIO | None = None) -> None:
    """Print the evidence in a bundle and its paths; of one that is not built yet, what to do next."""
    checked, build, verify, bench = (
        _read(bundle, name) for name in ("check.json", "build.json", "verify.json", "bench.json")
    )
    if not bundle.manifest.engines:
        count, name = len(bundle.manifest.candidates), bundle.manifest.target.get("name")
        lines(["", f"Not built yet: {count} candidates for {name}.", ""], stream)
        if checked:
            show_check(checked, stream)
        lines([f"bundle: {bundle.path}", f"next: copy it to the device and follow {bundle.path / INSTALL}"], stream)
        return
    lines(["", headline(bench, verify), ""], stream)
    if checked:
        show_check(checked, stream)
    if build:
        show_build(build, stream, most=CANDIDATES)
        lines([""], stream)
    if verify:
        show_verify(verify, stream)
        lines([""], stream)
    if bench:
        show_bench(bench, stream)
        lines([""], stream)
    lines([f"bundle: {bundle.path}", f"report: {bundle.path / 'report.html'}"], stream)


def show_check(document: Mapping[str, Any], stream: TextIO | None = None) -> None:
    """Print which releases take which candidates."""
    show(*check.grid(document), stream)
    lines([*check.notes(document), ""], stream)


def _read(bundle: Bundle, name: str) -> dict[str, Any] | None:
    """A document of the bundle; None where it is not there, as in a bundle that is not built yet."""
    path = bundle.path / name
    if not path.is_file():
        return None
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document
