"""Sliding-window attention with gaps: as many keys from a wider range, for audio and time series."""

from __future__ import annotations

from pydantic import Field

from edgeattn.attention.sliding_window import SlidingWindow, SlidingWindowOptions


class DilatedWindowOptions(SlidingWindowOptions):
    dilation: int = Field(4, ge=1, le=4096, description="distance between two keys of a window, in tokens")


class DilatedWindow(SlidingWindow):
    """Query i attends to key j where i - j is a multiple of `dilation` and |i - j| <= dilation * window / 2.

    In a causal layer it attends to the `window` such keys up to and including itself. Global tokens as in
    `sliding_window`. The sequence falls into `dilation` interleaved sequences, each with its own sliding window, which
    meet only in the global tokens: combine it with layers of other dilations or with `sliding_window`.
    """

    name = "dilated_window"
    Options = DilatedWindowOptions
    source = "Beltagy et al. 2020, Longformer (arXiv 2004.05150), section 3.1, dilated sliding window"
    options: DilatedWindowOptions

    @property
    def spacing(self) -> int:
        return self.options.dilation
