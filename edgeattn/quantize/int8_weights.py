"""int8-weights: weights in 8 bits, everything else in fp32."""

from __future__ import annotations

from edgeattn.quantize.arithmetic import Arithmetic
from edgeattn.quantize.weight_only import WeightOnly


class Int8Weights(WeightOnly):
    """Weights of linear layers in 8 bits by blocks."""

    name = "int8-weights"
    bits = 8
    arithmetic = Arithmetic(linear="int8", weight_bits=8)
    least_cosine = 0.99
