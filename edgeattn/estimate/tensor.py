"""A tensor of a graph whose axes have sizes."""

from __future__ import annotations

import math
from dataclasses import dataclass

_BITS = {"STRING": 0, "BOOL": 8, "FLOAT": 32, "DOUBLE": 64, "FLOAT16": 16, "BFLOAT16": 16, "COMPLEX64": 64}


@dataclass(frozen=True)
class Tensor:
    """A tensor of a sized graph.

    kind: ONNX's name of its type, such as "FLOAT". constant: a weight, or computed from weights and sizes alone.
    """

    shape: tuple[int, ...]
    kind: str
    constant: bool = False

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def bytes(self) -> float:
        """Half a byte for an element of 4 bits."""
        return self.elements * bits_of(self.kind) / 8


def bits_of(kind: str) -> int:
    """The bits of one element: of "INT64", 64."""
    digits = "".join(character for character in kind.partition("E")[0] if character.isdigit())
    return _BITS.get(kind) or int(digits or 0)
