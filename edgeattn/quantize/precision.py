"""Which nodes of a graph stay in fp32 when the rest computes in fp16, and why.

fp16 has 11 significant bits and ends at 65504. So what sums over many values, divides by a sum, or is squared inside
stays in fp32, and so does what was seen near the end of the range.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir

FLOAT = ir.DataType.FLOAT
LARGEST = 65504.0
_WHOLE = (ir.DataType.INT32, ir.DataType.INT64)
# Scales of quantization below it lose digits, down to 0.
_SMALLEST_NORMAL = 6.104e-5

NORM, SOFTMAX, SUM, DIVISION, RANGE = "norm", "softmax", "sum", "division", "range"
MASK, OVERFLOW, PAIR, PLACE, NEIGHBOURS = "mask", "overflow", "quantized", "place", "between fp32"
_BY_OPERATOR = {
    **dict.fromkeys(
        ("LayerNormalization", "RMSNormalization", "InstanceNormalization", "GroupNormalization", "LpNormalization"),
        NORM,
    ),
    **dict.fromkeys(("Softmax", "LogSoftmax"), SOFTMAX),
    **dict.fromkeys(
        ("ReduceSum", "ReduceMean", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp",
         "CumSum", "Einsum"), SUM,
    ),
    **dict.fromkeys(("Exp", "Log", "Pow", "Sqrt", "Reciprocal", "Sin", "Cos"), RANGE),
}  # fmt: skip
PRODUCTS = {"MatMul", "Gemm", "Conv", "ConvTranspose", "Einsum"}
_ELEMENTWISE = {"Add", "Sub", "Mul", "Div", "Neg", "Abs", "Clip", "Max", "Min", "Where", "Relu", "Cast", "Identity"}
# Their first input's last axes stay where they are.
_KEEP_AXES = {*_ELEMENTWISE, "Slice", "Pad", "Concat", "Expand", "Softmax", "Gelu", "Sigmoid", "Tanh", "Erf", "Elu"}
# After them, a large value is no longer large.
_BOUNDED = {"Softmax", "Exp", "Sigmoid", "Tanh", "Erf", *PRODUCTS}


def kept_in_fp32(model: ir.Model, ranges: Mapping[str, float], headroom: float) -> dict[str, str]:
    """The nodes that stay in fp32: name -> why.

    ranges: the largest magnitude of each value on calibration samples. headroom: how many times larger it may get.
    """
    kept = {node: why for node in model.graph if (why := _by_kind(node)) is not None}
    kept |= dict.fromkeys(_normalizers(model), DIVISION) | kept
    kept |= dict.fromkeys(_quantized(model), PAIR) | kept
    kept |= dict.fromkeys(_masks(model), MASK) | kept
    kept |= dict.fromkeys(_places(model), PLACE) | kept
    kept |= dict.fromkeys(_overflowing(model, ranges, LARGEST / headroom), OVERFLOW) | kept
    while found := [node for node in model.graph if node not in kept and _between(node, kept)]:
        kept |= dict.fromkeys(found, NEIGHBOURS)
    return {str(node.name): why for node, why in kept.items()}


def _by_kind(node: ir.Node) -> str | None:
    """Why a node is in fp32 whatever is around it; None if it is not."""
    if node.op_type == "Div":
        return None if _constant(node.inputs[1]) is not None else DIVISION
    if node.op_type == "MatMul" and contracts_tokens(node):
        return SUM
    return _BY_OPERATOR.get(node.op_type)


def contracts_tokens(product: ir.Node) -> bool:
    """Whether a MatMul sums over tokens with weights that are not those of a softmax, as K^T V does.

    Weights of a softmax add up to 1, so that their sums stay in the range of what they weigh.
    """
    left, right = product.inputs[:2]
    if left is None or is_weight(left) or is_weight(right):
        return False
    origin, axis, weighted = _last_axis(left)
    if weighted:
        return False
    moving = left.shape is not None and not isinstance(left.shape[-1], int) and left.shape[-1].value is not None
    return moving or axis != -1 or _is_map(origin)


def is_weight(value: ir.Value | None) -> bool:
    """Whether a value is a constant, or made from one, such as dequantized weights."""
    while value is not None and value.const_value is None:
        node = value.producer()
        if node is None or node.op_type not in ("DequantizeLinear", "QuantizeLinear", "Transpose", "Reshape", "Cast"):
            return False
        value = node.inputs[0]
    return value is not None


def _last_axis(value: ir.Value) -> tuple[ir.Value, int, bool]:
    """(where the last axis of `value` comes from, which axis it is there, counted from the end, and whether it is
    that of a softmax)."""
    axis = -1
    while (node := value.producer()) is not None and node.inputs and node.inputs[0] is not None:
        if node.op_type == "Transpose":
            order = list(node.attributes.get_ints("perm", ())) or list(range(len(value.shape or ())))[::-1]
            axis = order[axis] - len(order)
        elif node.op_type == "Softmax":
            over = node.attributes.get_int("axis", -1)
            if axis == (over if over < 0 or value.shape is None else over - len(value.shape)):
                return value, axis, True
        elif node.op_type not in _KEEP_AXES:
            break
        value = _widest(node)
    return value, axis, False


def _widest(node: ir.Node) -> ir.Value:
    """The computed input of most axes."""
    inputs = [value for value in node.inputs if value is not None and value.dtype is FLOAT and not is_weight(value)]
    candidates = inputs or [value for value in node.inputs if value is not None]
    return max(candidates, key=lambda value: len(value.shape) if value.shape is not None else 0)


def _is_map(value: ir.Value) -> bool:
    """Whether a value is a map of tokens by tokens: a product whose last axis is one of tokens."""
    node = value.producer()
    if node is None or node.op_type != "MatMul" or is_weight(node.inputs[1]) or node.inputs[1] is None:
        return False
    origin, axis, _ = _last_axis(node.inputs[1])
    return axis != -1 or _is_map(origin)


def _normalizers(model: ir.Model) -> Iterator[ir.Node]:
    """The nodes between a sum and the division by it."""
    for division in model.graph:
        if division.op_type != "Div" or _constant(division.inputs[1]) is not None:
            continue
        waiting = [division.inputs[1]]
        while waiting:
            value = waiting.pop()
            node = value.producer() if value is not None else None
            if node is None or is_weight(value):
                continue
            if node.op_type in _KEEP_AXES - {"Softmax"} or node.op_type in ("Unsqueeze", "Squeeze", "Transpose"):
                yield node
                waiting += [each for each in node.inputs if each is not None and each.dtype is FLOAT]
            elif node.op_type == "MatMul" and not any(map(is_weight, node.inputs)):
                yield node


def _quantized(model: ir.Model) -> Iterator[ir.Node]:
    """Pairs of QuantizeLinear and DequantizeLinear with the layers that read them, where pairs must be in fp32.

    Before opset 19 their scales are fp32. The layer stays with them, and its bias: runtimes look for the pair right
    before the product, so the cast comes after.
    """
    old = model.opset_imports.get("", 0) < 19
    for node in model.graph:
        if node.op_type == "DequantizeLinear":
            scale = _constant(node.inputs[1])
            if old or scale is None or scale.min() < _SMALLEST_NORMAL:
                yield from _pair(node)


def _pair(dequantize: ir.Node) -> Iterator[ir.Node]:
    yield dequantize
    quantize = dequantize.inputs[0].producer() if dequantize.inputs[0] is not None else None
    if quantize is not None:
        yield quantize
    readers = [node for node, _ in dequantize.outputs[0].uses()]
    for reader in readers:
        yield reader
        if reader.op_type in ("Transpose", "Reshape"):
            readers += [node for node, _ in reader.outputs[0].uses()]
        else:
            yield from (node for node, _ in reader.outputs[0].uses() if node.op_type == "Add" and _has_constant(node))


def _masks(model: ir.Model) -> Iterator[ir.Node]:
    """The nodes that compute or read a value that a constant beyond fp16 has made: samples without padding do not show
    what a mask adds to it."""
    made = {value for value in model.graph.initializers.values() if not _fits(value)}
    for node in model.graph:
        if node.op_type in PRODUCTS or not any(value.dtype is FLOAT for value in node.outputs):
            continue
        if made.intersection(node.inputs):
            yield node
            if node.op_type not in _BOUNDED:
                made |= set(node.outputs)


def _places(model: ir.Model) -> Iterator[ir.Node]:
    """What sorts the places of tokens, cast from whole numbers: fp16 counts to 2048."""
    for node in model.graph:
        value = node.inputs[0] if node.op_type == "TopK" else None
        cast = value.producer() if value is not None else None
        if (
            cast is not None
            and cast.op_type == "Cast"
            and cast.inputs[0] is not None
            and cast.inputs[0].dtype in _WHOLE
        ):
            yield from (cast, node)


def _overflowing(model: ir.Model, ranges: Mapping[str, float], limit: float) -> Iterator[ir.Node]:
    """The nodes that compute or read a value beyond the limit, and products by weights beyond fp16."""
    large = {name for name, value in ranges.items() if not value <= limit}
    for node in model.graph:
        read = {str(value.name) for value in node.inputs if value is not None}
        made = {str(value.name) for value in node.outputs if value.dtype is FLOAT}
        heavy = node.op_type in PRODUCTS and not all(map(_fits, node.inputs))
        if made and (heavy or large & (read | made)):
            yield node


def _fits(value: ir.Value | None) -> bool:
    """Whether a value, if it is an fp32 constant, is in fp16's range."""
    array = _constant(value) if value is not None and value.dtype is FLOAT else None
    return array is None or bool(np.abs(array).max(initial=0.0) <= LARGEST)


def _between(node: ir.Node, kept: Mapping[ir.Node, str]) -> bool:
    """Whether casting to fp16 in this node would gain nothing: what it reads comes in fp32, and is needed so."""
    if node.op_type in PRODUCTS or not any(value.dtype is FLOAT for value in node.outputs):
        return False
    readers = [reader for value in node.outputs for reader, _ in value.uses()]
    ends = any(value.is_graph_output() for value in node.outputs)
    if not (readers or ends) or not all(reader in kept for reader in readers):
        return False
    sources = [value.producer() for value in node.inputs if value is not None and value.dtype is FLOAT]
    computed = [source for source in sources if source is not None]
    inside: Callable[[ir.Node], bool] = kept.__contains__
    # K^T V and its like read values that were divided by the number of tokens: too small for fp16.
    scaled = any(map(inside, computed)) and any(kept[reader] == SUM for reader in readers)
    return scaled or all(map(inside, computed))


def _constant(value: ir.Value | None) -> np.ndarray[Any, Any] | None:
    found: np.ndarray[Any, Any] | None = None
    if value is not None and value.const_value is not None:
        found = value.const_value.numpy()
    return found


def _has_constant(node: ir.Node) -> bool:
    return any(_constant(value) is not None for value in node.inputs)
