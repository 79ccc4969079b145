"""The pictures of the page: one a file, drawn by matplotlib as static SVG in the page's own colours and font.

matplotlib is the extra `report`. Where it is missing the page is complete in text and tables, and says so.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

PICTURES = ("bars", "curves", "layers", "ratios", "scatter", "stacked", "training")


def available() -> bool:
    """Whether pictures can be drawn here."""
    try:
        return importlib.util.find_spec("matplotlib") is not None
    except ValueError:  # None in sys.modules
        return False


def draw(kind: str, name: str, **data: Any) -> str:
    """The SVG of a picture, for a place inside HTML.

    kind: of PICTURES. name: makes its ids unique on the page. data: what its file's `draw` takes.
    """
    from edgeattn.report.pictures import svg

    if kind not in PICTURES:
        raise ValueError(f"{kind!r} is not a picture")
    with svg.settings():
        figure = importlib.import_module(f"edgeattn.report.pictures.{kind}").draw(**data)
        return svg.inline(figure, name)
