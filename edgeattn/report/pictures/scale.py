"""Axes of lengths and of figures that grow with them: logarithmic, with the measured lengths as ticks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from edgeattn.report.text import number

_MOST = 7  # ticks of lengths that fit beside each other


def lengths(axis: Any, found: Sequence[int]) -> None:
    """An axis of lengths whose ticks are the measured ones."""
    ticks = sorted(set(found))
    if len(ticks) > _MOST:
        step = -(-len(ticks) // _MOST)
        ticks = ticks[::-step][::-1]
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FixedFormatter([str(each) for each in ticks]))
    axis.set_minor_locator(NullLocator())


def logarithmic(axis: Any, values: Sequence[float]) -> None:
    """A logarithmic axis of positive figures, with ticks that are read as numbers."""
    wide = max(values) > 30 * min(values)
    axis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0), numticks=8))
    axis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    axis.set_minor_locator(NullLocator())


def ratios(axis: Any, values: Sequence[float]) -> None:
    """A logarithmic axis of ratios near 1."""
    if max(values) > 6 * min(values):
        logarithmic(axis, values)
        return
    axis.set_major_locator(MaxNLocator(4))
    axis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    axis.set_minor_locator(NullLocator())


def linear(axis: Any, most: int = 5) -> None:
    """A linear axis with a few ticks that are read as numbers."""
    axis.set_major_locator(MaxNLocator(most))
    axis.set_major_formatter(FuncFormatter(lambda value, _: number(value, 6)))


def none(axis: Any) -> None:
    """An axis without ticks."""
    axis.set_major_locator(NullLocator())
    axis.set_minor_locator(NullLocator())


def decades(axis: Any) -> None:
    """A logarithmic axis over many powers of ten."""
    axis.set_major_locator(LogLocator(numticks=7))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0e}" if value < 1e-3 else number(value)))
    axis.set_minor_locator(NullLocator())
