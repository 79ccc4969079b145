"""A figure of matplotlib as SVG for a place inside HTML: its colours are the page's, so it follows light and dark."""

from __future__ import annotations

import io
import re
from contextlib import AbstractContextManager
from typing import Any
from xml.etree import ElementTree

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure  # without pyplot, which looks for a display and keeps figures

from edgeattn.plaintext import plain

WIDTH = 420  # units of all pictures; a phone shows them at about 0.8 of it, so that text stays readable
_PER_INCH = 72
# Drawn with these, replaced by the variables of style.css.
INK, DIM, LINE, PAGE = "#010101", "#020202", "#030303", "#040404"
SERIES = ("#050501", "#050502", "#050503", "#050504", "#050505", "#050506")
_VARIABLES = {
    INK: "ink", DIM: "dim", LINE: "line", PAGE: "page", **{colour: f"s{place}" for place, colour in enumerate(SERIES)},
}  # fmt: skip
MARKERS = ("s", "o", "^", "D", "v", "P")
DASHES: tuple[Any, ...] = ((0, (5, 2)), "-", (0, (1, 1.5)), (0, (5, 1, 1, 1)), (0, (3, 1)), (0, (8, 2)))
HATCHES = ("", "//", "\\\\", "--", "xx", "||")
_FONT = re.compile(r"font-family:[^;]*;?|font:([^;]*?)(?:'[^;]*|sans-serif);?")
_INVALID = re.compile("[\ud800-\udfff\ufffe\uffff]")
_LINK = "{http://www.w3.org/1999/xlink}href"


def settings() -> AbstractContextManager[None]:
    """How matplotlib draws meanwhile: text as text, no formulas in names, the same file for the same data."""
    manager: AbstractContextManager[None] = matplotlib.rc_context(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": "edgeattn",
            "text.parse_math": False,
            "font.family": "sans-serif",
            "font.size": 13,
            "text.color": INK,
            "axes.edgecolor": LINE,
            "axes.facecolor": "none",
            "axes.labelcolor": DIM,
            "axes.labelsize": 13,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlecolor": INK,
            "axes.titlesize": 13,
            "xtick.color": LINE,
            "ytick.color": LINE,
            "xtick.labelcolor": DIM,
            "ytick.labelcolor": DIM,
            "grid.color": LINE,
            "grid.linewidth": 0.6,
            "hatch.linewidth": 0.7,
            "lines.linewidth": 2,
            "lines.markersize": 6.5,
        }
    )
    return manager


def figure(height: float) -> Figure:
    """An empty figure of WIDTH x height units."""
    return Figure(figsize=(WIDTH / _PER_INCH, height / _PER_INCH), facecolor="none")


def axes(made: Figure, *, left: float, right: float, top: float, bottom: float, height: float) -> Any:
    """Axes between margins in units. height: of the figure."""
    width = WIDTH - left - right
    return made.add_axes((left / WIDTH, bottom / height, width / WIDTH, (height - top - bottom) / height))


def colour(place: int) -> str:
    """Of a series, by its place."""
    return SERIES[place % len(SERIES)]


def label(text: str, most: int = 28) -> str:
    """A name for a picture: on one line, safe in XML, and not too long for its place."""
    text = _INVALID.sub("?", plain(str(text)))
    return text if len(text) <= most else f"{text[: most - 1]}…"


def inline(made: Figure, name: str) -> str:
    """The figure as an <svg> element that scales with its place. name: the prefix of its ids."""
    FigureCanvasSVG(made)
    file = io.StringIO()
    made.savefig(file, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    root = ElementTree.fromstring(file.getvalue().partition("<svg")[2].join(("<svg", "")))
    for parent in root.iter():
        for child in list(parent):
            if child.tag.endswith(("}metadata", "}style")):
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        # As CSS: variables are not for attributes.
        paint = "".join(f"{key}:{element.attrib.pop(key)};" for key in ("fill", "stroke") if key in element.attrib)
        if paint:
            element.set("style", paint + element.get("style", ""))
        for key, value in list(element.attrib.items()):
            del element.attrib[key]
            element.set("href" if key == _LINK else key, _attribute(key, value, name))
    view = root.get("viewBox")
    root.attrib.clear()
    root.attrib |= {"viewBox": str(view), "aria-hidden": "true", "focusable": "false"}
    return ElementTree.tostring(root, encoding="unicode")


def _attribute(key: str, value: str, name: str) -> str:
    """An attribute with unique ids, the page's colours and the page's font."""
    if key == "id":
        return f"{name}-{value}"
    if key == _LINK:
        return f"#{name}-{value.removeprefix('#')}"
    value = value.replace("url(#", f"url(#{name}-")
    if key == "style":
        value = _FONT.sub(lambda found: f"font-size:{found[1].strip()};" if found[1] else "", value)
        for drawn, variable in _VARIABLES.items():
            value = value.replace(drawn, f"var(--{variable})")
    return " ".join(value.split()) if key == "d" else value
