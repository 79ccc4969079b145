"""The contract of a quantization method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from edgeattn.bench.inputs import Arrays
from edgeattn.devices.profile import CpuFacts
from edgeattn.quantize.arithmetic import Arithmetic
from edgeattn.validation import Part


class Calibrated(Part):
    """Options of a method that needs calibration samples."""

    samples: int = Field(
        default=64, ge=1, le=100_000, description="calibration samples, drawn from the training data by length"
    )


class Method(ABC):
    """Turns an fp32 graph into one that a runtime runs faster, or reads faster.

    A subclass is one file: its options and `quantize`. The file is imported to read a recipe, so heavy libraries are
    imported where they are used.
    """

    name: ClassVar[str]
    Options: ClassVar[type[Part]] = Part
    needs_calibration: ClassVar[bool] = False  # if so, its options are Calibrated
    starts_from: ClassVar[str | None] = None  # the method whose graph it goes on from; None: the fp32 graph
    fused: ClassVar[bool]  # whether it quantizes graphs with fused operators of a runtime too
    operators: ClassVar[frozenset[str]] = frozenset()  # that its graphs hold beside those of the fp32 graph
    # Between an output and its golden output. Whether an output is good enough, the task's metric decides; this only
    # detects an engine that computes another function.
    least_cosine: ClassVar[float]
    arithmetic: ClassVar[Arithmetic] = Arithmetic()  # for estimates

    @classmethod
    @abstractmethod
    def quantize(
        cls, graph: Path, out: Path, *, cpu: CpuFacts | None, calibration: Sequence[Arrays], options: Part
    ) -> dict[str, Any]:
        """Writes `graph`, whose weights are in <name>.data, to `out` in this method, with <out's name>.data.

        graph: in fp32, or as `starts_from` made it.
        cpu: the target's processor, if it has one that runs graphs, which sets the range of int8 weights.
        calibration: model inputs, one sample each, batch 1, where the method needs them; else empty.
        Returns facts for JSON. Raises ToolError for a graph that cannot be quantized.
        """
