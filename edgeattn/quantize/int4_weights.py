"""int4-weights: weights in 4 bits, everything else in fp32."""

from __future__ import annotations

from edgeattn.quantize.arithmetic import Arithmetic
from edgeattn.quantize.weight_only import WeightOnly


class Int4Weights(WeightOnly):
    """Weights of linear layers in 4 bits by blocks."""

    name = "int4-weights"
    bits = 4
    arithmetic = Arithmetic(linear="int8", weight_bits=4)
    least_cosine = 0.8  # whether 4 bits are enough depends on the model; its accuracy floor decides
