"""What a quantization method computes in, for estimates before there is a quantized graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# uint8: unsigned activations and signed weights, which ONNX Runtime quantizes dynamically.
Precision = Literal["fp32", "fp16", "int8", "uint8"]


@dataclass(frozen=True)
class Arithmetic:
    """linear: of the products with a weight. rest: of everything else. weight_bits: of an element of a weight."""

    linear: Precision = "fp32"
    rest: Precision = "fp32"
    weight_bits: int = 32
