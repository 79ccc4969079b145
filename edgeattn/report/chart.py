"""The bar chart of report.html, as inline SVG: latencies of the dense and the efficient engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from edgeattn.report import text

_WIDTH, _LEFT, _RIGHT, _BAR, _GAP = 720, 110, 110, 18, 22


def bars(cells: Sequence[Mapping[str, Any]]) -> str:
    """Two bars per length. Each length has its own scale, or a short one would vanish beside a long one."""
    parts = []
    top = 4
    for cell in cells:
        slowest = max(cell["dense"]["p50_ms"], cell["efficient"]["p50_ms"])
        label = f"{cell['length']} tokens" if cell["length"] else "one input"
        parts.append(f"<text x='0' y='{top + _BAR + 4}'>{escape(label)}</text>")
        for side in ("dense", "efficient"):
            width = (_WIDTH - _LEFT - _RIGHT) * cell[side]["p50_ms"] / slowest
            said = f"{text.number(cell[side]['p50_ms'])} ms"
            parts.append(f"<rect class='{side}' x='{_LEFT}' y='{top}' width='{width:.1f}' height='{_BAR - 2}'/>")
            parts.append(f"<text x='{_LEFT + width + 6:.1f}' y='{top + _BAR - 5}'>{escape(said)}</text>")
            top += _BAR
        top += _GAP
    height = max(top - _GAP + 4, 1)
    return (
        "<p class='key'><span class='dense'></span> dense <span class='efficient'></span> efficient, "
        "median milliseconds of one inference; each length has its own scale</p>\n"
        f"<svg viewBox='0 0 {_WIDTH} {height}' role='img' aria-label='Latencies'>{''.join(parts)}</svg>\n"
    )
