"""What the pictures show, as plain values: sections make them, whether something here draws or not.

place: in the palette of the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Point:
    """low, high: the range; None where there is none."""

    length: int
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Line:
    """place: in the palette."""

    name: str
    place: int
    points: Sequence[Point]


@dataclass(frozen=True)
class Row:
    """pairs: the ratio in each pair, in order. low, high: the interval; None where there is none."""

    name: str
    place: int
    value: float
    low: float | None
    high: float | None
    pairs: Sequence[float]


@dataclass(frozen=True)
class Mark:
    """place: in the palette. shipped: set large, filled and with its name."""

    name: str
    place: int
    latency_ms: float
    value: float
    shipped: bool


@dataclass(frozen=True)
class Bar:
    """A figure of an engine. place: in the palette. said: the figure with its unit. part: a share of it, hatched."""

    place: int
    value: float
    said: str
    part: float | None = None


@dataclass(frozen=True)
class Dot:
    """A product of the model. kept: it stays in float, and its mark is hollow."""

    value: float
    kept: bool
