"""The work of a graph as a quantization method would leave it, before it is quantized."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from edgeattn.estimate.count import Counted, Work
from edgeattn.quantize.arithmetic import Arithmetic, Precision

_QUANTIZE_OPS = 3  # an element's scale, rounding and clipping


def as_method(counted: Counted, arithmetic: Arithmetic) -> Counted:
    """The work of an fp32 graph after the method."""
    if arithmetic == Arithmetic():
        return counted
    works: list[Work] = []
    quantized: dict[str, str] = {}  # a tensor -> its copy in int8, made once
    for work in counted.works:
        linear = work.kind in ("product", "depthwise") and bool(work.weights)
        float_share = (16 if arithmetic.rest == "fp16" else 32) / 32
        reads = {
            name: size * (arithmetic.weight_bits / 32 if linear and name in work.weights else float_share)
            for name, size in work.reads.items()
        }
        if linear and arithmetic.linear in ("int8", "uint8"):
            for name in [name for name in work.reads if name not in work.weights]:
                if name not in quantized:
                    quantized[name] = f"{name}.int8"
                    works.append(_quantize(name, quantized[name], work.reads[name], float_share, arithmetic.rest))
                reads.pop(name)
                reads[quantized[name]] = work.reads[name] / 4
        works.append(
            replace(
                work,
                precision=arithmetic.linear if linear else arithmetic.rest,
                reads=reads,
                writes={name: size * float_share for name, size in work.writes.items()},
            )
        )
    return replace(counted, works=tuple(works))


def _quantize(name: str, copy: str, size: float, float_share: float, rest: Precision) -> Work:
    """size: of the tensor in fp32."""
    reads: Mapping[str, float] = {name: size * float_share}
    ops = _QUANTIZE_OPS * size / 4
    return Work(copy, "QuantizeLinear", "elementwise", rest, ops, reads, {copy: size / 4}, frozenset())
