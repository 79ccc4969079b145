"""From nodes to kernels: what a runtime runs in one go, without writing what lies in between."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from edgeattn.estimate.count import Counted, Kind, Work
from edgeattn.quantize.arithmetic import Precision

_FREE: frozenset[Kind] = frozenset({"elementwise", "transcendental", "copy"})  # they keep no product's registers busy
_AFTER_INTEGERS = {"Cast", "Mul", "Add"}  # from sums of integers back to numbers
# They join the kernel that makes their input even where another one reads that input too: it writes both.
_CONVERSIONS = {"Cast", "QuantizeLinear"}
_ACTIVATIONS = {"Relu", "Clip", "Sigmoid", "Tanh", "LeakyRelu", "HardSigmoid"}


@dataclass(frozen=True)
class Fusing:
    """What a runtime fuses.

    chains: operators on single elements and copies join the kernel that makes their input; products of one input with
    several weights are one kernel; sizes are computed when the engine is built. Otherwise each node is a kernel, but
    for the patterns of `_joins_interpreted`.
    attention: the query-key product, softmax and the product with the values are one kernel; the scores stay in it.
    """

    chains: bool
    attention: bool


@dataclass
class Kernel:
    """Nodes that run in one go.

    ops: operations by kind and precision. reads, writes: name of a tensor -> bytes that are moved.
    weights: the constants among what it reads.
    multiplied: the tensors that its products multiply with a weight.
    """

    name: str
    op_types: list[str] = field(default_factory=list)
    ops: dict[tuple[Kind, Precision], float] = field(default_factory=dict)
    reads: dict[str, float] = field(default_factory=dict)
    writes: dict[str, float] = field(default_factory=dict)
    weights: set[str] = field(default_factory=set)
    multiplied: set[str] = field(default_factory=set)

    @property
    def bytes(self) -> float:
        """Bytes that it moves."""
        return sum(self.reads.values()) + sum(self.writes.values())

    @property
    def weight_bytes(self) -> float:
        return sum(size for name, size in self.reads.items() if name in self.weights)

    @property
    def kinds(self) -> frozenset[Kind]:
        return frozenset(kind for kind, _ in self.ops)

    def add(self, work: Work, inside: str | None = None) -> None:
        """Let `work` run in this kernel too. inside: a tensor between them that is no longer written."""
        self.op_types.append(work.op_type)
        key = (work.kind, work.precision)
        self.ops[key] = self.ops.get(key, 0) + work.ops
        self.reads |= {name: size for name, size in work.reads.items() if name not in self.writes and name != inside}
        self.writes.pop(inside or "", None)
        self.writes |= work.writes
        self.weights |= work.weights
        if work.kind == "product" and work.weights:
            self.multiplied |= set(work.reads) - work.weights


def fuse(counted: Counted, fusing: Fusing) -> list[Kernel]:
    """The kernels of a graph, in order."""
    readers = Counter(name for work in counted.works for name in work.reads)
    alone = {name for name, times in readers.items() if times == 1} - counted.outputs  # one node reads it, nobody else
    joins = _joins_chain if fusing.chains else _joins_interpreted
    kernels: list[Kernel] = []
    maker: dict[str, int] = {}  # tensor -> the place of the kernel that writes it
    for work in counted.works:
        converts = fusing.chains and work.op_type in _CONVERSIONS
        places = [(maker[name], name) for name in work.reads if name in maker and (name in alone or converts)]
        # The last one: the kernels of the other inputs have run then.
        place, name = max((each for each in places if joins(work, kernels[each[0]])), default=(len(kernels), None))
        if name is None:
            kernels.append(Kernel(work.name))
        kernels[place].add(work, inside=name if name in alone else None)
        maker |= dict.fromkeys(work.writes, place)
    if fusing.attention:
        kernels = _with_attention(kernels, alone)
    return _side_by_side(kernels) if fusing.chains else kernels


def _joins_chain(work: Work, kernel: Kernel) -> bool:
    if work.kind in _FREE:
        return True
    return work.kind in ("softmax", "norm", "reduction") and kernel.kinds <= _FREE


def _joins_interpreted(work: Work, kernel: Kernel) -> bool:
    """The patterns that ONNX Runtime's optimizers fuse on a CPU, and that matter."""
    if kernel.kinds == {"product"} or kernel.kinds == {"product", "elementwise"}:
        if any(precision in ("int8", "uint8") for _, precision in kernel.ops):
            return work.op_type in _AFTER_INTEGERS
        scale = work.op_type in ("Mul", "Div") and len(work.weights) == 1 and sum(work.reads.values()) > 0
        scalar = all(work.reads[name] <= 8 for name in work.weights)
        return (scale and scalar) or (work.op_type in _ACTIVATIONS and kernel.op_types == ["Conv"])
    return work.op_type == "Gelu" and kernel.op_types == ["Add"]  # a bias and its Gelu


def _with_attention(kernels: Sequence[Kernel], alone: set[str]) -> list[Kernel]:
    """The kernels with each softmax joined by the products of activations before and after it."""
    maker = {name: kernel for kernel in kernels for name in kernel.writes}
    reader = {name: kernel for kernel in kernels for name in kernel.reads if name in alone}
    merged: dict[int, Kernel] = {}  # id of a kernel that is gone -> the attention that it is part of
    for kernel in kernels:
        if "softmax" not in kernel.kinds or "product" in kernel.kinds:
            continue
        scores = _scores(kernel, maker, alone)
        mixing = next((reader[name] for name in kernel.writes if name in reader), None)
        if not scores or mixing is None or "product" not in mixing.kinds or mixing.multiplied:
            continue
        parts = [*scores, kernel, mixing]
        # It takes the layout of the projections: what only transposes is gone.
        for part in (scores[0], mixing):
            parts += [maker[name] for name in part.reads if name in maker and maker[name].kinds == {"copy"}]
        parts += [reader[name] for name in mixing.writes if name in reader and reader[name].kinds == {"copy"}]
        merged |= dict.fromkeys(map(id, parts), _attention_of(parts))
    found: list[Kernel] = []
    for kernel in kernels:
        joined = merged.get(id(kernel), kernel)
        if all(joined is not other for other in found):
            found.append(joined)
    return found


def _scores(softmax: Kernel, maker: dict[str, Kernel], alone: set[str]) -> list[Kernel]:
    """The kernels from the product of two activations to the softmax, the product first; empty where there is none."""
    chain: list[Kernel] = []
    at = softmax
    while True:
        before = [maker[name] for name in at.reads if name in maker and name in alone]
        product = next((each for each in before if "product" in each.kinds and not each.multiplied), None)
        if product is not None:
            return [product, *chain]
        if len(before) != 1 or not before[0].kinds <= _FREE:
            return []
        at = before[0]
        chain.insert(0, at)


def _attention_of(parts: Sequence[Kernel]) -> Kernel:
    whole = Kernel(parts[0].name, ["Attention"])
    inside = {name for part in parts for name in part.writes} & {name for part in parts for name in part.reads}
    whole.reads = {name: size for part in parts for name, size in part.reads.items() if name not in inside}
    whole.writes = {name: size for part in parts for name, size in part.writes.items() if name not in inside}
    precision = next(precision for kind, precision in parts[0].ops if kind == "product")
    whole.weights = {name for part in parts for name in part.weights}
    whole.ops = {("attention", precision): sum(ops for part in parts for ops in part.ops.values())}
    return whole


def _side_by_side(kernels: Sequence[Kernel]) -> list[Kernel]:
    """The kernels with products of one tensor with several weights, such as query, key and value, in one."""
    first: dict[str, Kernel] = {}
    found: list[Kernel] = []
    for kernel in kernels:
        inputs = kernel.multiplied
        joined = first.setdefault(next(iter(inputs)), kernel) if len(inputs) == 1 else kernel
        if joined is kernel:
            found.append(kernel)
            continue
        joined.op_types += kernel.op_types
        for key, ops in kernel.ops.items():
            joined.ops[key] = joined.ops.get(key, 0) + ops
        joined.reads |= kernel.reads
        joined.writes |= kernel.writes
        joined.weights |= kernel.weights
    return found
