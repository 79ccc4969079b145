"""Writes a graph in fp16, and what it costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx_ir as ir

from edgeattn.bench.inputs import Arrays
from edgeattn.errors import DataError, ToolError
from edgeattn.quantize.float16 import load, to_float16
from edgeattn.quantize.precision import OVERFLOW, PAIR, PRODUCTS, kept_in_fp32
from edgeattn.quantize.ranges import largest
from edgeattn.quantize.rounding import ROUNDED, rounded
from edgeattn.quantize.session import cosine, outputs, session

_CHECKED = 4  # of the samples


def halve(graph: Path, out: Path, samples: Sequence[Arrays], *, headroom: float, method: str) -> dict[str, Any]:
    """Writes `graph` in fp16 to `out`, and its weights beside it. Returns facts for JSON.

    samples: model inputs, to look for overflow. headroom: see `kept_in_fp32`. method: for messages.
    Raises DataError without samples, ToolError where fp16 is no use.
    """
    if not samples:
        raise DataError(
            f"{method} needs calibration samples, and there are none",
            where="quantize.methods",
            fix=f"give training data, or remove {method}",
        )
    model = load(graph)
    checked = samples[:: -(-len(samples) // _CHECKED)]
    expected = outputs(session(model, graph.parent), checked)
    kept = kept_in_fp32(model, largest(model, graph.parent, samples), headroom)
    overflowing = [name for name, why in kept.items() if why == OVERFLOW]
    products = [node.name for node in model.graph if node.op_type in PRODUCTS and kept.get(str(node.name)) != PAIR]
    if products and kept.keys() >= set(products):
        raise ToolError(
            f"every product would stay in fp32: {len(overflowing)} nodes come near the end of fp16's range",
            where=graph.name,
            fix=f"remove {method}, or give it less headroom",
        )
    half = to_float16(model, kept)
    ir.save(half, out, external_data=f"{out.name}.data")
    emulated = rounded(ir.load(out))
    found = cosine(outputs(session(emulated, out.parent), checked), expected)
    if found == -1.0:
        raise ToolError(
            f"fp16 overflows on {len(checked)} calibration samples, first in {_first_infinite(emulated, out, checked)}",
            where=graph.name,
            fix=f"remove {method}, or give it more headroom",
        )
    return {
        "in_fp32": dict(Counter(kept.values())),
        "overflow": overflowing,
        "fp16_cosine": round(found, 6),
        "fp16_samples": len(samples),
    }


def _first_infinite(emulated: ir.Model, out: Path, samples: Sequence[Arrays]) -> str:
    """The node of the graph at `out` whose value is the first that is not finite."""
    found = largest(emulated, out.parent, samples)
    value = next((name.split(ROUNDED)[0] for name, most in found.items() if not most < float("inf")), None)
    names = (str(node.name) for node in ir.load(out).graph for each in node.outputs if each.name == value)
    return next(names, "an output")
