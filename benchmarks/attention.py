"""How fast the attention forms are in ONNX Runtime. Run: python -m benchmarks.attention [PART ...]

Parts, each under 4 minutes on two quiet cores: linear, window, exponent, lowerings, merging. Without one, all of them
run. A part that is not run keeps the rows of its last run. None needs data.
"""

from __future__ import annotations

import math
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from benchmarks.record import Row, run_parts
from edgeattn.attention import ATTENTION
from edgeattn.attention.dense import FUSED
from edgeattn.attention.variant import Shape
from edgeattn.bench.compare import quick_compare
from edgeattn.bench.inputs import Arrays
from edgeattn.bench.leg import Engine
from edgeattn.bench.statistics import Estimate, hodges_lehmann, ratio
from edgeattn.crossover.block import add_projections, before_reshapes, core
from edgeattn.export.onnx import save
from edgeattn.measure.graphs import HIDDEN, MASK
from edgeattn.runtimes.base import Configuration
from edgeattn.runtimes.onnxruntime import RUNTIME

HEADS, DIM = 6, 64
WIDTH = HEADS * DIM
TOKENS = 4096
THREADS = 2
ROUNDS = 10  # the forms take turns, each in its own process: a 95 % interval
GEMM = 2048
LENGTH = 512  # of the whole model
COPIED = 64 * 1024**2  # numbers: 256 MB in, 256 MB out


class Bench:
    """Forms that are timed in turn. A form is a graph and its inputs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.feeds: dict[str, list[Arrays]] = {}

    def add(self, form: str, graph: onnx.ModelProto, feeds: Arrays, *, without: tuple[str, ...] = ()) -> None:
        """without: ONNX Runtime's optimizers to switch off."""
        place = self.folder / str(len(self.feeds))
        place.mkdir()
        onnx.save(graph, place / "model.onnx")
        configuration = Configuration(form, {"disabled_optimizers": without})
        RUNTIME.build(place / "model.onnx", place / "engine", method="fp32", configuration=configuration)
        self.feeds[form] = [feeds]

    def run(self) -> dict[str, list[float]]:
        """Milliseconds: form -> one per round."""
        places = {form: self.folder / str(index) for index, form in enumerate(self.feeds)}
        candidates = {form: Engine(place, place / "engine", RUNTIME.name, THREADS) for form, place in places.items()}
        return quick_compare(candidates, self.feeds, rounds=ROUNDS, block_s=0.1, warm_s=0.2)

    def add_machine(self) -> None:
        """The two measurements behind a roofline: a large matrix product, and a pass over much memory."""
        a, b, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("a", "b", "y"))
        product = helper.make_graph([helper.make_node("MatMul", ["a", "b"], ["y"])], "product", [a, b], [y])
        matrix = np.random.default_rng(0).standard_normal((GEMM, GEMM), dtype=np.float32)
        self.add("gemm", _model(product), {"a": matrix, "b": matrix})
        copy = helper.make_graph([helper.make_node("Neg", ["a"], ["y"])], "copy", [a], [y])
        self.add("copy", _model(copy), {"a": np.ones(COPIED, np.float32)})


def _model(graph: onnx.GraphProto) -> onnx.ModelProto:
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def _graph(
    name: str, options: Mapping[str, Any], *, mask: bool = False, fused: bool = False, projections: bool = False
) -> onnx.ModelProto:
    """A variant's attention as a compiled model has it. Without projections it starts from q, k, v.

    A map of queries and keys is folded into the projections, and then not included.
    """
    kind = ATTENTION[name]
    variant = kind(Shape(HEADS, DIM, DIM**-0.5), kind.Options.model_validate(options))
    graph = core(variant, key_mask=mask, operators=frozenset({FUSED}) if fused else frozenset())
    add_projections(graph, WIDTH)
    with tempfile.TemporaryDirectory() as folder:
        save(graph, Path(folder) / "model.onnx")
        whole = onnx.load(Path(folder) / "model.onnx")
    if projections:
        return whole
    shifted = {node.input[0]: node.output[0] for node in whole.graph.node if node.op_type == "Add"}
    projected = [
        shifted[node.output[0]] for node in whole.graph.node if node.op_type == "MatMul" and node.input[0] == HIDDEN
    ]
    mixed = next(value for node in graph.graph for value in node.outputs if value.name == "mixed")
    end = before_reshapes(mixed).name
    # The hidden states stay an input because the length is read from them.
    return onnx.utils.Extractor(whole).extract_model([HIDDEN, *projected, *([MASK] if mask else [])], [end])


def _feeds(graph: onnx.ModelProto, length: int) -> Arrays:
    random = np.random.default_rng(length)
    feeds: Arrays = {}
    for value in graph.graph.input:
        width = value.type.tensor_type.shape.dim[-1].dim_value
        feeds[value.name] = random.standard_normal((1, length, width), dtype=np.float32)
    if MASK in feeds:
        feeds[MASK] = np.ones((1, length), bool)
    return feeds


def _bytes(feeds: Arrays) -> int:
    """The least that the core must move: its inputs once and its output once."""
    return sum(x.nbytes for name, x in feeds.items() if name not in (HIDDEN, MASK)) + 4 * TOKENS * WIDTH


# The forms of the part linear: variant, options, and features per head after the feature map.
LINEAR: dict[str, tuple[str, dict[str, Any], int]] = {
    "hedgehog, feature_dim 32": ("hedgehog", {"feature_dim": 32}, 64),
    "hedgehog, feature_dim 64": ("hedgehog", {"feature_dim": 64}, 128),
    "relu_linear": ("relu_linear", {}, DIM),
    "elu_linear": ("elu_linear", {}, DIM),
}
WINDOW = 128


def linear() -> list[Row]:
    """Bidirectional linear attention without its projections, which hold the feature maps of hedgehog."""
    cores = {form: (name, options) for form, (name, options, _) in LINEAR.items()}
    # Both products and the normaliser.
    flops = {form: 4 * HEADS * TOKENS * features * (DIM + 1) for form, (_, _, features) in LINEAR.items()}
    return [row for mask in (False, True) for row in _cores(cores, flops, mask, faster=20, roofline=2.5)]


def window() -> list[Row]:
    """Sliding-window attention without its projections."""
    form, options = f"sliding_window, window {WINDOW}", {"window": WINDOW}
    seen = WINDOW + 1 + ATTENTION["sliding_window"].Options().global_tokens
    flops = {form: 4 * HEADS * TOKENS * seen * DIM}  # only of the scores inside the window
    cores = {form: ("sliding_window", options)}
    return [row for mask in (False, True) for row in _cores(cores, flops, mask, faster=6, roofline=4)]


def _cores(
    cores: Mapping[str, tuple[str, dict[str, Any]]],
    flops: Mapping[str, int],
    mask: bool,
    *,
    faster: float,
    roofline: float,
) -> list[Row]:
    moved: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        for form, (name, options) in {**cores, "dense": ("dense", {}), "dense fused": ("dense", {})}.items():
            graph = _graph(name, options, mask=mask, fused=form == "dense fused")
            feeds = _feeds(graph, TOKENS)
            moved[form] = _bytes(feeds)
            bench.add(form, graph, feeds)
        bench.add_machine()
        times = bench.run()
    ms = {form: statistics.median(series) for form, series in times.items()}
    gemm, copy = 2 * GEMM**3 / ms["gemm"], 8 * COPIED / ms["copy"]  # per millisecond
    case = f"N = {TOKENS}, {HEADS} heads of {DIM}, {'with' if mask else 'without'} a key mask"
    rows = [
        Row(case, "GEMM rate", gemm / 1e6, "GFLOP/s"),
        Row(case, "copy bandwidth", copy / 1e6, "GB/s"),
        Row(case, "latency, dense, plain form", ms["dense"], "ms"),
    ]
    for form in cores:
        least = flops[form] / gemm + moved[form] / copy
        found = ratio(times["dense fused"], times[form])
        share = ms[form] / least
        rows += [
            Row(case, f"latency, {form}", ms[form], "ms", "fused dense operator", ms["dense fused"], found.value,
                f">= {faster:g}", found.value >= faster),
            *_interval(case, form, found),
            Row(case, f"latency, {form}", ms[form], "ms",
                f"roofline: {flops[form] / 1e6:.0f} MFLOP, {moved[form] / 1e6:.1f} MB", least, share,
                f"<= {roofline:g}", share <= roofline),
        ]  # fmt: skip
    return rows


def _interval(case: str, what: str, found: Estimate) -> list[Row]:
    assert found.confidence is not None
    name = f"interval ({found.confidence * 100:.1f} %) of the ratio, {what}"
    return [Row(case, f"{name}, {end}", bound, "x") for end, bound in (("low", found.low), ("high", found.high))]


def exponent() -> list[Row]:
    """Whether time grows only linearly with N: the slope of log time over log N."""
    lengths = [TOKENS // 4 * 2**power for power in range(5)]
    cores = {form: (name, options) for form, (name, options, _) in LINEAR.items()}
    cores[f"sliding_window, window {WINDOW}"] = ("sliding_window", {"window": WINDOW})
    rows = []
    for form, (name, options) in cores.items():
        with tempfile.TemporaryDirectory() as folder:
            bench = Bench(Path(folder))
            graph = _graph(name, options)
            for length in lengths:
                bench.add(str(length), graph, _feeds(graph, length))
            times = bench.run()
        logs = np.log(lengths)
        slopes = [
            float(np.polyfit(logs, np.log([times[str(length)][round_] for length in lengths]), 1)[0])
            for round_ in range(ROUNDS)
        ]
        found = hodges_lehmann(slopes)
        case = f"N = {lengths[0]} to {lengths[-1]}, {HEADS} heads of {DIM}"
        rows.append(
            Row(case, f"exponent of time in N, {form}", found.value, "", goal="<= 1.1", holds=found.value <= 1.1)
        )
        rows += [Row(case, f"latency at N = {n}, {form}", statistics.median(times[str(n)]), "ms") for n in lengths]
    return rows


# Pieces of graphs: linear attention with projections, as hedgehog's two halves; x: [1, N, C], heads of F features.
PROJECTED = """
    q0 = MatMul(x, wq)  k0 = MatMul(x, wk)  v0 = MatMul(x, wv)
    q = Reshape(q0, split)  k = Reshape(k0, split)  v = Reshape(v0, split)
"""
KEYS = """
    kh = Transpose<perm = [0, 2, 1, 3]>(k)  vh = Transpose<perm = [0, 2, 1, 3]>(v)
    k1 = Softmax(kh)  kn = Neg(kh)  k2 = Softmax(kn)
    k1t = Transpose<perm = [0, 1, 3, 2]>(k1)  s1 = MatMul(k1t, vh)  z1 = ReduceSum(k1, two)
    k2t = Transpose<perm = [0, 1, 3, 2]>(k2)  s2 = MatMul(k2t, vh)  z2 = ReduceSum(k2, two)
"""
PLAIN = """
    qh = Transpose<perm = [0, 2, 1, 3]>(q)  q1 = Softmax(qh)  qn = Neg(qh)  q2 = Softmax(qn)
    z1t = Transpose<perm = [0, 1, 3, 2]>(z1)  n1 = MatMul(q1, s1)  d1 = MatMul(q1, z1t)
    z2t = Transpose<perm = [0, 1, 3, 2]>(z2)  n2 = MatMul(q2, s2)  d2 = MatMul(q2, z2t)
    n = Add(n1, n2)  d = Add(d1, d2)  o = Div(n, d)
    ot = Transpose<perm = [0, 2, 1, 3]>(o)  joined = Reshape(ot, join)  y = MatMul(joined, wo)
"""
FOLDED = """
    q1 = Softmax(q)  qn = Neg(q)  q2 = Softmax(qn)
    z1r = Reshape(z1, row)  t1 = Mul(q1, z1r)  d1 = ReduceSum(t1, last)
    z2r = Reshape(z2, row)  t2 = Mul(q2, z2r)  d2 = ReduceSum(t2, last)
    d = Add(d1, d2)
    p1 = Div(q1, d)  r1 = Reshape(p1, join)  m1 = MatMul(s1, wo_heads)  f1 = Reshape(m1, block)  y1 = MatMul(r1, f1)
    p2 = Div(q2, d)  r2 = Reshape(p2, join)  m2 = MatMul(s2, wo_heads)  f2 = Reshape(m2, block)  y2 = MatMul(r2, f2)
    y = Add(y1, y2)
"""
TOKENS_FIRST = """
    v3 = Reshape(v0, flat_v)  kn = Neg(k)
    k1 = Softmax(k)  k13 = Reshape(k1, flat_k)  z1 = ReduceSum(k1, one)
    k2 = Softmax(kn)  k23 = Reshape(k2, flat_k)  z2 = ReduceSum(k2, one)
    s1 = com.microsoft.FusedMatMul<transA = 1, transBatchA = 1, transBatchB = 1>(k13, v3)
    s2 = com.microsoft.FusedMatMul<transA = 1, transBatchA = 1, transBatchB = 1>(k23, v3)
"""  # FusedMatMul takes the heads as its batch only from 3-D [N, H, F], so this form is for batch 1
LOWERINGS = {
    "plain": (PROJECTED + KEYS + PLAIN, ()),
    "plain, no FusedMatMul": (PROJECTED + KEYS + PLAIN, ("MatmulTransposeFusion",)),
    "state folded into the output projection": (PROJECTED + KEYS + FOLDED, ()),
    "state folded, FusedMatMul, no Transpose": (PROJECTED + TOKENS_FIRST + FOLDED, ()),
}


def _written(text: str, features: int) -> onnx.ModelProto:
    """The graph of one of LOWERINGS: its weights are random, and the same for all."""
    random = np.random.default_rng(0)
    sizes = {"wq": features * HEADS, "wk": features * HEADS, "wv": WIDTH, "wo": WIDTH}
    arrays = {name: random.standard_normal((WIDTH, size)) * WIDTH**-0.5 for name, size in sizes.items()}
    arrays["wo_heads"] = arrays["wo"].reshape(HEADS, DIM, WIDTH)
    constants = {name: array.astype(np.float32) for name, array in arrays.items()}
    shapes = {
        "split": [0, 0, HEADS, -1], "join": [0, 0, -1], "row": [1, 1, HEADS, -1], "block": [-1, WIDTH],
        "flat_k": [-1, HEADS, features], "flat_v": [-1, HEADS, DIM], "one": [1], "two": [2], "last": [-1],
    }  # fmt: skip
    constants |= {name: np.array(shape, np.int64) for name, shape in shapes.items()}
    lines = "\n".join(part.strip() for part in text.replace("  ", "\n").splitlines() if part.strip())
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 20, "com.microsoft" : 1]>'
        f"linear (float[1, N, {WIDTH}] x) => (float[1, N, {WIDTH}] y) {{ {lines} }}"
    )
    used = {name for node in model.graph.node for name in node.input}
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(array, name) for name, array in constants.items() if name in used
    )
    return model


def lowerings() -> list[Row]:
    """Equivalent graphs of linear attention with projections; the plain one is the reference."""
    rows = []
    for features in (32, 64):
        with tempfile.TemporaryDirectory() as folder:
            bench = Bench(Path(folder))
            outputs: dict[str, Any] = {}
            for form, (text, without) in LOWERINGS.items():
                graph = _written(text, features)
                session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
                (outputs[form],) = session.run(None, _feeds(graph, 100))
                np.testing.assert_allclose(outputs[form], outputs["plain"], rtol=1e-4, atol=1e-5)
                bench.add(form, graph, _feeds(graph, TOKENS), without=without)
            times = bench.run()
        case = f"linear with projections, N = {TOKENS}, {HEADS} heads of {DIM}, feature_dim {features}"
        plain = statistics.median(times["plain"])
        rows.append(Row(case, "latency, plain", plain, "ms"))
        for form in list(LOWERINGS)[1:]:
            found = ratio(times["plain"], times[form])
            rows.append(
                Row(case, f"latency, {form}", statistics.median(times[form]), "ms", "plain", plain, found.value)
            )
            rows += _interval(case, form, found)
    return rows


def merging() -> list[Row]:
    """MiniLM end to end with token merging, half of the tokens or fewer left after the middle, against dense MiniLM."""
    import torch

    from edgeattn.convert import convert
    from edgeattn.convert.plan import Choice
    from edgeattn.export.onnx import PREFERRED_OPSET, export
    from edgeattn.export.rewrite import rewrite
    from edgeattn.models.teacher import fetch_teacher, load_teacher
    from edgeattn.recipe import load_recipe
    from edgeattn.stages.learn import make_task

    layers, r = 6, math.ceil(LENGTH / 2 / 3)  # three layers merge before the fourth begins
    ids = torch.from_numpy(np.random.default_rng(0).integers(1000, 20000, (2, LENGTH)))
    example = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    feeds = [{name: tensor[:1].numpy() for name, tensor in example.items()}]
    merge = tuple(Choice(layer, "token_merging", {"r": r}) for layer in range(layers))
    with tempfile.TemporaryDirectory() as name:
        folder, loaded = Path(name), load_recipe("minilm-hedgehog")
        (folder / "teacher").mkdir()
        fetch_teacher(loaded.recipe.model, loaded.root, folder / "teacher")
        task = make_task(loaded.recipe, folder / "teacher")
        candidates = {}
        for form, plan in (("dense", ()), ("merging", merge)):
            model = convert(load_teacher(folder / "teacher", task), plan, example)
            for operators in (frozenset[str](), frozenset({FUSED})):
                graph, _ = export(
                    task.exportable(model), example, task.dynamic_dims(),
                    opset=PREFERRED_OPSET, limits={"sequence": (1, LENGTH)}, operators=operators,
                )  # fmt: skip
                rewrite(graph)
                label = f"{form}, fused operator" if operators else f"{form}, plain"
                place = folder / label.replace(" ", "-")
                (place / "engine").mkdir(parents=True)
                save(graph, place / "model.onnx")
                RUNTIME.build(place / "model.onnx", place / "engine", method="fp32")
                candidates[label] = Engine(place, place / "engine", RUNTIME.name, THREADS)
        times = quick_compare(candidates, feeds, rounds=ROUNDS, block_s=0.3)
    ms = {label: statistics.median(series) for label, series in times.items()}
    dense, ours = (
        min((label for label in ms if label.startswith(form)), key=ms.__getitem__) for form in ("dense", "merging")
    )
    found = ratio(times[dense], times[ours])
    case = f"MiniLM, N = {LENGTH}, token_merging r = {r}"
    row = Row(
        case, f"latency, {ours}", ms[ours], "ms", dense, ms[dense], found.value, ">= 1.4", found.value >= 1.4
    )  # fmt: skip
    others = [Row(case, f"latency, {label}", value, "ms") for label, value in ms.items() if label not in (ours, dense)]
    return [row, *_interval(case, ours, found), *others]


PARTS: dict[str, Callable[[], list[Row]]] = {
    "linear": linear,
    "window": window,
    "exponent": exponent,
    "lowerings": lowerings,
    "merging": merging,
}


def main(names: list[str]) -> None:
    notes = [
        f"ONNX Runtime on the CPU, {THREADS} threads, fp32, batch 1. Each form in a process of its own; all forms of a "
        f"table's case take turns in {ROUNDS} rounds. A ratio is the Hodges-Lehmann estimate over the rounds.",
        "Without projections: what remains of a layer in a shipped graph, from the projected q, k, v [B, N, width] to "
        "the mixed values in that order. The feature maps of hedgehog lie in the projections then, and are not in it.",
        f"Roofline: floating-point operations over the rate of a product of {GEMM} x {GEMM} matrices, plus inputs and "
        "output, once, over the bandwidth of negating 256 MB (bytes read and written), all timed in the same rounds.",
    ]
    run_parts("attention", PARTS, names, notes)


if __name__ == "__main__":
    main(sys.argv[1:])
