"""The history as a static SVG: a panel per series, with its change points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure  # without pyplot, which looks for a display and keeps figures

from edgeattn.history.changes import Change
from edgeattn.history.series import Key, Series
from edgeattn.plaintext import plain
from edgeattn.store import disk_errors, replacing

MOST = 24  # panels


def draw(found: Sequence[Series], points: Mapping[Key, Sequence[Change]], file: Path) -> None:
    """Write the plot of at most MOST series. Raises ResourceError where the file cannot be written."""
    # Names come from bundles: "$" would start a formula. A fixed salt makes equal histories equal files.
    settings = {"svg.fonttype": "none", "text.parse_math": False, "svg.hashsalt": "edgeattn"}
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(9, 2.6 * len(found)), layout="constrained")
        for axes, series in zip(figure.subplots(len(found), squeeze=False)[:, 0], found, strict=True):
            values = series.values
            axes.plot(range(len(values)), values, color="#1f5fa8", marker="o", markersize=4)
            for change in points.get(series.key, ()):
                axes.axvline(change.index - 0.5, color="#b3261e", linestyle="--")
                at = (change.index - 0.5, max(values) / 2)  # below the line of values
                axes.annotate(f" {change.relative:+.1%}", at, color="#b3261e", va="top")
            key = series.key
            title = f"{key.name}, {key.engine}, {series.cell}: {key.runtime}, {key.protocol}\n{series.machine}"
            axes.set_title(plain(title, lines=True), fontsize=9, loc="left")
            axes.set_ylabel(f"{series.metric} ({key.scope})" if key.scope else series.metric)
            step = max(1, len(values) // 8)
            places = range(0, len(values), step)
            axes.set_xticks(list(places), [plain(series.rows[place].created_utc[:10]) for place in places], fontsize=8)
            axes.set_ylim(0, 1.1 * max(values) or 1)
            axes.grid(visible=True, alpha=0.2)
        with disk_errors(file.parent, "choose another --plot"), replacing(file) as temporary:
            figure.savefig(temporary, format="svg", metadata={"Date": None})
