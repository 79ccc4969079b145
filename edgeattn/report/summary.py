"""The end of `edgeattn compile`: the headline, the two tables, and the paths of bundle and report."""

from __future__ import annotations

import json
from typing import TextIO

from edgeattn.bundle import Bundle
from edgeattn.report.table import lines, show_bench, show_verify
from edgeattn.report.text import headline


def show_bundle(bundle: Bundle, stream: TextIO | None = None) -> None:
    """Print the evidence in a bundle, and its paths."""
    verify = json.loads((bundle.path / "verify.json").read_text(encoding="utf-8"))
    bench = json.loads((bundle.path / "bench.json").read_text(encoding="utf-8"))
    lines(["", headline(bench, verify), ""], stream)
    show_verify(verify, stream)
    lines([""], stream)
    show_bench(bench, stream)
    lines(["", f"bundle: {bundle.path}", f"report: {bundle.path / 'report.html'}"], stream)
