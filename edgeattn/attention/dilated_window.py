"""Sliding-window attention with gaps: as many keys from a wider stretch, for audio and series."""

from __future__ import annotations

from pydantic import Field

from edgeattn.attention.sliding_window import SlidingWindow, SlidingWindowOptions


class DilatedWindowOptions(SlidingWindowOptions):
    dilation: int = Field(4, ge=1, le=4096, description="distance between two keys of a window, in tokens")


class DilatedWindow(SlidingWindow):
    """Query i attends to key j where i - j is a multiple of `dilation` and |i - j| <= dilation * window / 2.

    In a causal layer to the `window` such keys up to and with itself. Global tokens as in `sliding_window`. The
    sequence is `dilation` interleaved ones, each with a sliding window of its own; only global tokens join them, so
    layers of different dilations, or some with `sliding_window`, belong beside it.
    """

    name = "dilated_window"
    Options = DilatedWindowOptions
    source = "Beltagy et al. 2020, Longformer (arXiv 2004.05150), section 3.1, dilated sliding window"
    options: DilatedWindowOptions

    @property
    def spacing(self) -> int:
        return self.options.dilation
