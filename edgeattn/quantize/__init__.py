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
        "fp16": "edgeattn.quantize.fp16:Fp16",
        "int8-weights": "edgeattn.quantize.int8_weights:Int8Weights",
        "int8-dynamic": "edgeattn.quantize.int8_dynamic:Int8Dynamic",
        "int8": "edgeattn.quantize.int8:Int8",
        "int8-fp16": "edgeattn.quantize.int8_fp16:Int8Fp16",
        "int4-weights": "edgeattn.quantize.int4_weights:Int4Weights",
    },
)

# What a recipe tries that names no methods: those of a target run, others are passed over. Weights alone in few bits
# are for decoders, which say so.
DEFAULT = ("fp32", "fp16", "int8-dynamic", "int8", "int8-fp16")
