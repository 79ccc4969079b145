"""int8-fp16: the linear layers of int8, everything else in half precision."""

from __future__ import annotations

from edgeattn.quantize.arithmetic import Arithmetic
from edgeattn.quantize.fp16 import Fp16


class Int8Fp16(Fp16):
    """The graph that int8 made, with what is not quantized in fp16. The recipe's options of int8 hold for it too."""

    name = "int8-fp16"
    starts_from = "int8"
    arithmetic = Arithmetic(linear="int8", rest="fp16", weight_bits=8)
    least_cosine = 0.9
