"""The end of `edgeattn compile`: the headline, what was tried, the two tables, and the paths of bundle and report."""

from __future__ import annotations

import json
from typing import Any, TextIO

from edgeattn.bundle import Bundle
from edgeattn.manifest import INSTALL
from edgeattn.report.table import lines, show_bench, show_build, show_verify
from edgeattn.report.text import headline

CANDIDATES = 5  # of a side that are shown; all of them are in the report


def show_bundle(bundle: Bundle, stream: TextIO | None = None) -> None:
    """Print the evidence in a bundle and its paths; of one that is not built yet, what to do next."""
    if not bundle.manifest.engines:
        count, name = len(bundle.manifest.candidates), bundle.manifest.target.get("name")
        lines(["", f"Not built yet: {count} candidates for {name}.", "", f"bundle: {bundle.path}"], stream)
        lines([f"next: copy it to the device and follow {bundle.path / INSTALL}"], stream)
        return
    build, verify, bench = (_read(bundle, name) for name in ("build.json", "verify.json", "bench.json"))
    lines(["", headline(bench, verify), ""], stream)
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


def _read(bundle: Bundle, name: str) -> dict[str, Any] | None:
    """A document of the bundle; None where it is not there, as in a bundle that is not built yet."""
    path = bundle.path / name
    if not path.is_file():
        return None
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document
