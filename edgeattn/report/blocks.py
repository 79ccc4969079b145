"""What a section of the page is made of: plain texts and figures. The templates turn them into markup and escape them.

No block holds markup, but the drawing of a `Picture`, which `edgeattn.report.pictures` makes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from markupsafe import Markup


@dataclass(frozen=True)
class Text:
    """A paragraph. bad: it is a warning."""

    said: str
    bad: bool = False
    kind: ClassVar[str] = "text"


@dataclass(frozen=True)
class Table:
    """title: said above it and read out with it. marked: rows set in bold. numbers: columns aligned to the right."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    marked: Sequence[int] = ()
    numbers: Sequence[int] = ()
    kind: ClassVar[str] = "table"


@dataclass(frozen=True)
class Picture:
    """A drawing. svg: trusted markup; None where nothing draws here. alt: what it shows, for those who do not see it.

    key: (name of the series, its place in the palette, whether its line is dashed).
    """

    name: str
    title: str
    alt: str
    svg: Markup | None
    key: Sequence[tuple[str, int]] = ()
    kind: ClassVar[str] = "picture"


@dataclass(frozen=True)
class Facts:
    """Names and values."""

    pairs: Sequence[tuple[str, str]]
    kind: ClassVar[str] = "facts"


@dataclass(frozen=True)
class Notes:
    """A list of remarks."""

    said: Sequence[str]
    kind: ClassVar[str] = "notes"


@dataclass(frozen=True)
class Code:
    """Commands or a document, set as they are typed."""

    said: str
    kind: ClassVar[str] = "code"


@dataclass(frozen=True)
class Layer:
    """A layer of the strip. changed: its attention is not the dense one any more. place: in the palette of variants."""

    number: str
    attention: str
    options: str
    precision: str
    tokens: str
    place: int


@dataclass(frozen=True)
class Strip:
    """The layers of a model in order."""

    title: str
    layers: Sequence[Layer]
    kind: ClassVar[str] = "strip"


@dataclass(frozen=True)
class Folded:
    """Blocks that open on demand."""

    title: str
    blocks: Sequence[Block]
    kind: ClassVar[str] = "folded"


Block = Text | Table | Picture | Facts | Notes | Code | Strip | Folded


@dataclass(frozen=True)
class Section:
    """key: its anchor. words: terms of `edgeattn.report.words` that it uses, explained where they come first."""

    key: str
    title: str
    blocks: Sequence[Block]
    words: Sequence[str] = ()


@dataclass(frozen=True)
class Card:
    """A big figure. good: None where it is neither."""

    title: str
    figure: str
    detail: str
    good: bool | None = None


@dataclass(frozen=True)
class Verdict:
    """The head of the page: sentences that a manager reads, and pictures beside them.

    notices: warnings about the evidence.
    """

    title: str
    description: str
    sentences: Sequence[str]
    failed: bool
    cards: Sequence[Card]
    pictures: Sequence[Picture]
    blocks: Sequence[Block] = ()
    notices: Sequence[str] = field(default_factory=tuple)
