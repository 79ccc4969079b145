"""int8-fp16: the linear layers of int8, everything else in half precision."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from edgeattn.bench.inputs import Arrays
from edgeattn.devices.profile import CpuFacts
from edgeattn.quantize.arithmetic import Arithmetic
from edgeattn.quantize.fp16 import Fp16Options
from edgeattn.quantize.method import Method
from edgeattn.validation import Part


class Int8Fp16(Method):
    """The graph that int8 made, with what is not quantized in fp16. The recipe's options of int8 hold for it too."""

    name = "int8-fp16"
    Options: ClassVar[type[Part]] = Fp16Options
    needs_calibration = True
    starts_from = "int8"
    fused = False
    arithmetic = Arithmetic(linear="int8", rest="fp16", weight_bits=8)
    least_cosine = 0.9

    @classmethod
    def quantize(
        cls, graph: Path, out: Path, *, cpu: CpuFacts | None, calibration: Sequence[Arrays], options: Part
    ) -> dict[str, Any]:
        from edgeattn.quantize.halving import halve

        assert isinstance(options, Fp16Options)
        return halve(graph, out, calibration, headroom=options.headroom, method=cls.name)
