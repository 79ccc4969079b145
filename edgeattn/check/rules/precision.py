"""What half precision does not hold, and wide types that TensorRT computes as narrower ones."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgeattn.check.finding import Fault
from edgeattn.check.graph import Graph, Node
from edgeattn.check.parsers import Parser

_LAYER_NORM = "https://github.com/NVIDIA/TensorRT/issues/2564 and 4493"
_POW = "https://github.com/daquexian/onnx-simplifier/issues/1742"
_SUMS = "https://github.com/mit-han-lab/efficientvit/issues/113"
_LARGEST = float(np.finfo(np.float16).max)
_INT32 = np.iinfo(np.int32)
_CUT_OFF_ANYWAY = ("Slice",)  # its ends may be far beyond the size, and are clamped like the size


def half_precision(graph: Graph, parser: Parser) -> Iterator[Fault]:
    """Norms, sums and constants of a half-precision graph are in fp32, or in the range of fp16."""
    if parser.operators is None:
        return
    for node in graph.nodes:
        if graph.types.get(node.input(0)) == "FP16":
            yield from _in_half(graph, node)
        if node.operator == "Cast" and node.value("to") == 10:
            yield from _too_large(graph, node)
    for name in graph.initializers():
        if graph.types.get(name) == "FP16" and not np.isfinite(array := graph.read(name)).all():
            fact = f"initializer {name!r} has {int((~np.isfinite(array)).sum())} values that are not finite in FP16"
            remedy = "keep it in FP32, or clamp it to 65504"
            yield Fault("warning", "fp16-range", "", "", fact, "IEEE 754: fp16 holds up to 65504", remedy)


def _in_half(graph: Graph, node: Node) -> Iterator[Fault]:
    def fault(rule: str, fact: str, source: str, remedy: str) -> Fault:
        return Fault("warning", rule, node.name, node.operator, fact, source, remedy)

    if node.operator in ("LayerNormalization", "RMSNormalization") and node.value("stash_type", 1) != 1:
        yield fault("fp16-norm", "it is computed in FP16, and overflows", _LAYER_NORM, "cast to FP32 about it")
    elif node.operator in ("LayerNormalization", "RMSNormalization"):
        fact = "its input is FP16: TensorRT may compute it in FP16, and overflow"
        yield fault("fp16-norm", fact, _LAYER_NORM, "cast to FP32 before it and back behind it")
    elif node.operator == "Pow":
        maker = graph.producers.get(node.input(0))
        of = "a norm written out with Pow" if maker is not None and maker.operator == "Sub" else "Pow"
        fact = f"{of} in FP16 overflows above 255"
        yield fault("fp16-pow", fact, _POW, "cast to FP32 about it, and write x * x")
    elif node.operator in ("ReduceSum", "ReduceMean", "ReduceSumSquare", "ReduceL2", "CumSum"):
        fact = "a sum in FP16 overflows above 65504, and rounds"
        yield fault("fp16-sum", fact, _SUMS, "cast to FP32 about it")


def _too_large(graph: Graph, node: Node) -> Iterator[Fault]:
    array = graph.constant(node.input(0))
    if array is None or array.dtype.kind != "f" or not np.any(np.abs(array[np.isfinite(array)]) > _LARGEST):
        return
    fact = f"the constant {node.input(0)!r} of up to {np.abs(array[np.isfinite(array)]).max():.3g} becomes infinite"
    remedy = "clamp it to 65504, or keep it in FP32"
    yield Fault("warning", "fp16-range", node.name, node.operator, fact, "IEEE 754: fp16 holds up to 65504", remedy)


def wide_types(graph: Graph, parser: Parser) -> Iterator[Fault]:
    """FP64, and INT64 where it is computed as INT32, lose nothing."""
    if parser.operators is None:
        return
    narrowed = parser.operators.computed_as
    for node in graph.nodes:
        made = [name for name in node.outputs if graph.types.get(name) == "FP64"]
        if made:
            fact = f"makes FP64 ({made[0]}), which is computed in FP32"
            yield _narrowed(parser, fact, "cast to FP32", node)
    if "INT64" not in narrowed:
        return
    for name, array in graph.small_weights():
        if array.dtype != np.int64 or not array.size or (array.min() >= _INT32.min and array.max() <= _INT32.max):
            continue
        readers = graph.consumers.get(name, [])
        if any(node.operator not in _CUT_OFF_ANYWAY for node in readers):
            fact = f"constant {name!r} of up to {np.abs(array.astype(object)).max()} is clamped to INT32"
            yield _narrowed(parser, fact, "use values within INT32")


def _narrowed(parser: Parser, fact: str, remedy: str, node: Node | None = None) -> Fault:
    source = parser.operators.source if parser.operators else ""
    name, operator = (node.name, node.operator) if node else ("", "")
    return Fault("warning", "narrowed-type", name, operator, fact, source, remedy)
