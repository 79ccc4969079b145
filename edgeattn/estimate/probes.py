"""Tiny graphs whose times give the rates of a runtime on this machine: chains of one operator.

A long chain and a short one differ by some links, without what a call costs. Each link has weights of its own, as
layers have, so that they come from memory as often as in a model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgeattn.estimate.count import Kind
from edgeattn.quantize.arithmetic import Precision

OPSET = 20
WIDTH, INNER, HEADS = 384, 1536, 12  # of a layer of MiniLM
ROWS = 1024  # so that inputs and results do not stay in the inner caches, as in a model
_SCORES = (HEADS, 256, 256)


@dataclass(frozen=True)
class Probe:
    """Two graphs that differ by some links.

    kind: of the operator, or "bandwidth", or "kernel": what each costs beside its work. precision: of its inputs.
    long, short: make the graphs. links: by which they differ. moved: bytes that a link reads and writes.
    ops: operations of a link.
    """

    kind: Kind | str
    precision: Precision
    long: Callable[[], onnx.ModelProto]
    short: Callable[[], onnx.ModelProto]
    links: int
    moved: float
    ops: float = 0.0


class _Chain:
    """Builds a graph from its input x, link by link."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.random = np.random.default_rng(0)
        self.shape, self.at = shape, "x"
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def weight(self, array: NDArray[Any]) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def normal(self, *shape: int) -> str:
        return self.weight(self.random.standard_normal(shape, dtype=np.float32) * np.float32(shape[-1] ** -0.5))

    def then(self, op_type: str, *more: str, outputs: int = 1, domain: str = "", **attributes: Any) -> list[str]:
        """Appends a node on the last output; returns its outputs, of which the first is the next input."""
        names = [f"v{len(self.nodes)}.{place}" for place in range(outputs)]
        self.nodes.append(helper.make_node(op_type, [self.at, *more], names, domain=domain, **attributes))
        self.at = names[0]
        return names

    def done(self) -> onnx.ModelProto:
        """The graph, whose output is a single element: a larger one would be copied."""
        rank = len(self.shape)
        zeros, ones = (self.weight(np.full(rank, value, np.int64)) for value in (0, 1))
        self.then("Slice", zeros, ones)
        body = helper.make_graph(
            self.nodes, "chain",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape)],
            [helper.make_tensor_value_info(self.at, TensorProto.FLOAT, [1] * rank)],
            self.weights,
        )  # fmt: skip
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(body, opset_imports=opsets, ir_version=9)


def _linear(links: int) -> onnx.ModelProto:
    chain = _Chain((ROWS, WIDTH))
    for rows, columns in _layers(links):
        chain.then("MatMul", chain.normal(rows, columns))
    return chain.done()


def _layers(links: int) -> Iterator[tuple[int, int]]:
    """The shapes of the weights: each link is two layers, out to INNER and back."""
    for _ in range(links):
        yield WIDTH, INNER
        yield INNER, WIDTH


def _quantized(links: int) -> onnx.ModelProto:
    """Linear layers between pairs of signed QuantizeLinear and DequantizeLinear."""
    chain = _Chain((ROWS, WIDTH))
    scale, zero = chain.weight(np.float32(0.02)), chain.weight(np.int8(0))
    for rows, columns in _layers(links):
        weight, each = chain.weight(_bytes(chain, rows, columns)), chain.weight(np.float32(0.001))
        out = f"d{len(chain.nodes)}"
        chain.nodes.append(helper.make_node("DequantizeLinear", [weight, each], [out]))
        chain.then("QuantizeLinear", scale, zero)
        chain.then("DequantizeLinear", scale, zero)
        chain.then("MatMul", out)
    return chain.done()


def _dynamic(links: int) -> onnx.ModelProto:
    """Linear layers as ONNX Runtime quantizes them dynamically."""
    chain = _Chain((ROWS, WIDTH))
    for rows, columns in _layers(links):
        weight = chain.weight(_bytes(chain, rows, columns))
        scale, zero = chain.weight(np.full(columns, 0.001, np.float32)), chain.weight(np.zeros(columns, np.int8))
        _, data_scale, data_zero = chain.then("DynamicQuantizeLinear", outputs=3)
        chain.then("MatMulInteger", weight, data_zero, zero)
        chain.then("Cast", to=TensorProto.FLOAT)
        both = f"s{len(chain.nodes)}"
        chain.nodes.append(helper.make_node("Mul", [data_scale, scale], [both]))
        chain.then("Mul", both)
    return chain.done()


def _bytes(chain: _Chain, rows: int, columns: int) -> NDArray[np.int8]:
    return chain.random.integers(-127, 128, (rows, columns), np.int8)


def _repeated(shape: tuple[int, ...], op_type: str, **attributes: Any) -> Callable[[int], onnx.ModelProto]:
    def make(links: int) -> onnx.ModelProto:
        chain = _Chain(shape)
        for _ in range(links):
            chain.then(op_type, **attributes)
        return chain.done()

    return make


def _added(elements: int) -> onnx.ModelProto:
    """One sum: runtimes make one kernel of a chain of sums."""
    columns = min(elements, 1024)  # rows that are as long as a model's, or longer
    chain = _Chain((elements // columns, columns))
    chain.then("Add", chain.normal(columns))
    return chain.done()


def _normed(links: int) -> onnx.ModelProto:
    chain = _Chain((ROWS, WIDTH))
    for _ in range(links):
        chain.then("LayerNormalization", chain.normal(WIDTH), chain.normal(WIDTH))
    return chain.done()


def _activated(links: int) -> onnx.ModelProto:
    """A bias and a Gelu, as after a layer: ONNX Runtime has one operator for both, which is slower than Gelu alone."""
    chain = _Chain((ROWS, INNER))
    for _ in range(links):
        chain.then("Add", chain.normal(INNER))
        chain.then("Gelu")
    return chain.done()


def _attended(links: int) -> onnx.ModelProto:
    """With a key mask, as texts have: ONNX Runtime's faster kernel takes none."""
    chain = _Chain((1, ROWS, WIDTH))
    mask = chain.weight(np.ones((1, ROWS), np.int32))
    for _ in range(links):
        chain.then("MultiHeadAttention", "x", "x", "", mask, domain="com.microsoft", num_heads=HEADS)
    return chain.done()


_SIZE = 4.0  # bytes of an element
_WIDE = ROWS * INNER
_LINEAR = 2 * 2 * ROWS * WIDTH * INNER  # operations of two layers
_LINEAR_MOVED = _SIZE * 2 * (ROWS * WIDTH + _WIDE + WIDTH * INNER)
# The inputs are read in fp32, written and read in int8, and the results written in fp32.
_INTEGERS_MOVED = 2 * (_SIZE * (ROWS * WIDTH + _WIDE) + ROWS * WIDTH + _WIDE + WIDTH * INNER)
_MAP = HEADS * 256 * 256


def _chain(
    kind: Kind | str, make: Callable[[int], onnx.ModelProto], links: int, moved: float, ops: float = 0,
    precision: Precision = "fp32",
) -> Probe:  # fmt: skip
    return Probe(kind, precision, partial(make, links + 1), partial(make, 1), links, moved, ops)


def _bandwidth(elements: int) -> Probe:
    """One sum of so many elements beside one of a few."""
    return Probe("bandwidth", "fp32", partial(_added, elements), partial(_added, 64), 1, _SIZE * 2 * elements)


# The kernel's own cost and the bandwidths come first: the others take them off.
PROBES: Mapping[str, Probe] = {
    "kernel": _chain("kernel", _repeated((1, 64), "Softmax", axis=-1), 32, 0),
    "bandwidth, 0.5 MB": _bandwidth(2**16),
    "bandwidth, 4 MB": _bandwidth(2**19),
    "bandwidth, 32 MB": _bandwidth(2**22),
    "bandwidth, 128 MB": _bandwidth(2**24),
    "product": _chain("product", _linear, 1, _LINEAR_MOVED, _LINEAR),
    "product, uint8": _chain("product", _dynamic, 1, _INTEGERS_MOVED, _LINEAR, "uint8"),
    "product, int8": _chain("product", _quantized, 1, _INTEGERS_MOVED, _LINEAR, "int8"),
    "attention": _chain("attention", _attended, 1, _SIZE * 4 * ROWS * WIDTH, ROWS * ROWS * (4 * WIDTH + 5 * HEADS)),
    "softmax": _chain("softmax", _repeated(_SCORES, "Softmax", axis=-1), 7, _SIZE * 2 * _MAP, 5 * _MAP),
    "norm": _chain("norm", _normed, 15, _SIZE * 2 * ROWS * WIDTH, 8 * ROWS * WIDTH),
    "transcendental": _chain("transcendental", _activated, 3, _SIZE * 2 * _WIDE, _WIDE),
}
