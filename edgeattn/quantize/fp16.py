"""fp16: the graph in half precision, with casts around what needs more."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from edgeattn.bench.inputs import Arrays
from edgeattn.devices.profile import CpuFacts
from edgeattn.quantize.arithmetic import Arithmetic
from edgeattn.quantize.method import Calibrated, Method
from edgeattn.validation import Part


class Fp16Options(Calibrated):
    samples: int = Field(
        default=16, ge=1, le=100_000, description="samples that overflow is looked for on, from the training data"
    )
    headroom: float = Field(
        default=4.0,
        ge=1,
        le=1000,
        description="times a value may exceed the largest one seen on the samples before it must fit fp16",
    )


class Fp16(Method):
    """Weights and values in fp16. Norms, softmax, sums over tokens, divisions by them, and what came near fp16's end
    on calibration samples stay in fp32."""

    name = "fp16"
    Options: ClassVar[type[Part]] = Fp16Options
    needs_calibration = True
    fused = False  # the converter does not know the types that fused operators of runtimes take
    arithmetic = Arithmetic(linear="fp16", rest="fp16", weight_bits=16)
    least_cosine = 0.999

    @classmethod
    def quantize(
        cls, graph: Path, out: Path, *, cpu: CpuFacts | None, calibration: Sequence[Arrays], options: Part
    ) -> dict[str, Any]:
        from edgeattn.quantize.halving import halve

        assert isinstance(options, Fp16Options)
        return halve(graph, out, calibration, headroom=options.headroom, method=cls.name)
