"""The bar chart of report.html: latencies of the contestants, as HTML, so that its text keeps its size on a phone."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from edgeattn.report import text


def bars(bench: Mapping[str, Any]) -> str:
    """One bar per length and contestant. Each length has its own scale: a short one would vanish beside a long one."""
    parts = []
    for cell in bench["cells"]:
        label = text.at(bench, cell) or "one input"
        slowest = max(engine["p50_ms"] for engine in cell["contestants"].values())
        parts.append(f"<h4>{escape(label)}</h4>")
        for name, engine in cell["contestants"].items():
            kind = "reference" if name == bench["reference"] else "other"
            width = 100 * engine["p50_ms"] / slowest
            said = f"{text.number(engine['p50_ms'])} ms"
            parts.append(
                f"<span class='name'>{escape(name)}</span>"
                f"<span class='track'><span class='bar {kind}' style='width:{width:.1f}%'></span></span>"
                f"<span class='value'>{escape(said)}</span>"
            )
    return (
        "<p class='key'>Median milliseconds of one inference; each length has its own scale.</p>\n"
        f"<div class='bars'>{''.join(parts)}</div>\n"
    )
