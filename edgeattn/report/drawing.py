"""Pictures as blocks of the page: drawn where something here draws, and left to their tables elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from edgeattn.report import pictures
from edgeattn.report.blocks import Picture
from edgeattn.report.subject import Subject


def drawn(
    subject: Subject,
    kind: str,
    name: str,
    *,
    title: str,
    alt: str,
    key: Sequence[tuple[str, int]] = (),
    **data: Any,
) -> Picture:
    """kind: of `pictures.PICTURES`. name: of this one on the page. key: (series, its place in the palette)."""
    svg = Markup(pictures.draw(kind, name, **data)) if subject.pictures and pictures.available() else None
    return Picture(name, title, alt, svg, key)
