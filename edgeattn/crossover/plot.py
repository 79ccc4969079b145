"""The crossover document as a plot: time by length, and the length from which each variant is faster than dense."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure  # without pyplot, which looks for a display and keeps figures
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator
from matplotlib.typing import FillStyleType

_TITLES = {False: "attention only", True: "with its projections"}
_FORMATS = ("svg", "png")
_FILLS: tuple[FillStyleType, ...] = ("full", "none", "left", "right", "top", "bottom")
_MARKERS = "osD^vP*Xdph<>"


def draw(document: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write crossover.svg and crossover.png into `folder`; returns their paths."""
    figure = Figure(figsize=(12.5, 6), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for panel, projections in zip(axes, (False, True), strict=True):
        _panel(panel, document, projections)
    axes[0].set_ylabel("milliseconds of one layer")
    handles, labels = axes[0].get_legend_handles_labels()
    styles = _styles(document)
    for runtime, style in styles.items() if len(styles) > 1 else ():
        handles.append(Line2D([], [], color="grey", marker="o", linestyle="", fillstyle=style))
        labels.append(f"in {runtime}")
    figure.legend(handles, labels, loc="outside right center", frameon=False)
    machine = document["machine"]
    figure.suptitle(
        f"{document['heads']} heads of {document['head_dim']}, "
        f"{'causal' if document['causal'] else 'bidirectional'}, {document['precision']}, "
        f"{machine['cpu_model'] or 'unknown processor'}, {document['threads']} threads\n"
        "large marks: from this length on, a variant is faster than dense",
        fontsize=11,
    )
    written = [folder / f"crossover.{suffix}" for suffix in _FORMATS]
    with matplotlib.rc_context({"svg.fonttype": "none"}):  # text stays text
        for path in written:
            figure.savefig(path, dpi=120)
    return written


def _panel(panel: Axes, document: Mapping[str, Any], projections: bool) -> None:
    cells = [cell for cell in document["cells"] if cell["projections"] == projections]
    dense = {cell["length"]: cell["dense"]["ms"] for cell in cells if cell["dense"]}
    styles = _styles(document)
    panel.plot(list(dense), list(dense.values()), color="black", linewidth=2.5, label="dense", zorder=3)
    for cell in cells:
        if cell["dense"]:
            style = styles[cell["dense"]["runtime"]]
            _point(panel, cell["length"], cell["dense"]["ms"], style, color="black", marker="o", markersize=5)
    pays = {each["variant"]: each["pays_from"] for each in document["pays"] if each["projections"] == projections}
    colours = matplotlib.colormaps["tab20"]
    for index, (variant, start) in enumerate(pays.items()):
        found = {cell["length"]: cell["variants"][variant] for cell in cells if variant in cell["variants"]}
        times = {length: each["ms"] for length, each in found.items()}
        # Dark shades first, light ones when those are used up.
        colour, marker = colours((2 * index) % 20 + (index >= 10)), _MARKERS[index % len(_MARKERS)]
        panel.plot(list(times), list(times.values()), color=colour, linewidth=1.2)
        panel.plot([], [], color=colour, marker=marker, linewidth=1.2, markersize=3.5, label=variant)
        for length, each in found.items():
            look = {"markersize": 10, "markeredgewidth": 2} if length == start else {"markersize": 3.5}
            _point(panel, length, each["ms"], styles[each["runtime"]], color=colour, marker=marker, **look)
    lengths = [cell["length"] for cell in cells]
    panel.set_xscale("log", base=2)
    panel.set_yscale("log")
    panel.set_xticks(lengths)
    for axis in (panel.xaxis, panel.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.set_xlabel("tokens")
    panel.set_title(_TITLES[projections])
    panel.grid(visible=True, which="both", alpha=0.2)


def _styles(document: Mapping[str, Any]) -> dict[str, FillStyleType]:
    """How a mark is filled for each runtime that the document has times of."""
    return dict(zip(document["runtimes"], _FILLS, strict=False))


def _point(panel: Axes, length: int, ms: float, style: FillStyleType, **look: Any) -> None:
    panel.plot([length], [ms], fillstyle=style, linestyle="", zorder=4, **look)
