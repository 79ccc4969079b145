"""Quantization methods, one file each, behind a closed registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeattn.registry import Registry

if TYPE_CHECKING:  # a list of recipes needs no numpy
    from edgeattn.quantize.method import Method

# The most precise first: a less precise method has to be worth it.
METHODS: Registry[type[Method]] = Registry(
    "quantization method",
    {
        "fp32": "edgeattn.quantize.fp32:Fp32",
        "int8-dynamic": "edgeattn.quantize.int8_dynamic:Int8Dynamic",
        "int8": "edgeattn.quantize.int8:Int8",
    },
)
