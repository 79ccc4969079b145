"""A tiny, real bundle for text generation, whose layers sum what they have read. Nothing is trained or exported.

    bundle = tiny_generation.make(tmp_path / "bundle")

The efficient graph of one token carries the sum; the dense one carries all rows, and sums them each time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tiny_bundle
from onnx import TensorProto, helper, numpy_helper

from edgeattn import bundle as bundles
from edgeattn.bundle import Axis, BenchSpec, Bundle, DecodeGraph, EngineRef, Manifest, TaskSpec, TensorSpec
from edgeattn.interface import Carried
from edgeattn.manifest import DECODE_GRAPHS, GRAPHS, Side
from edgeattn.runtimes import RUNTIMES

VOCABULARY, WIDTH, LENGTH = 24, 8, 6


def weights() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "table": rng.normal(size=(VOCABULARY, WIDTH)).astype(np.float32),
        "head": rng.normal(size=(WIDTH, VOCABULARY)).astype(np.float32),
        "one": np.array([1]),
        "axis": np.array(1),
    }


def logits(ids: np.ndarray) -> np.ndarray:
    """What every right graph gives: [B, N] -> [B, N, V]."""
    made = weights()
    return np.tanh(made["table"][ids].cumsum(1)) @ made["head"]  # type: ignore[no-any-return]


def whole() -> onnx.ModelProto:
    node = helper.make_node
    nodes = [
        node("Gather", ["table", "input_ids"], ["rows"]),
        node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["mask", "last"], ["column"]),
        node("Mul", ["rows", "column"], ["kept"]),
        node("CumSum", ["kept", "axis"], ["sums"]),
        node("Tanh", ["sums"], ["bounded"]),
        node("MatMul", ["bounded", "head"], ["logits"]),
    ]
    tensors = [
        ("input_ids", TensorProto.INT64, "batch", "sequence"),
        ("attention_mask", TensorProto.INT64, "batch", "sequence"),
    ]
    return _model(nodes, tensors, [("logits", TensorProto.FLOAT, "batch", "sequence", VOCABULARY)], last=np.array([-1]))


def one_token(side: Side, *, remembers: int | None = None) -> onnx.ModelProto:
    """remembers: rows that the dense graph keeps, fewer than it should."""
    node = helper.make_node
    nodes = [node("Gather", ["table", "input_ids"], ["row"])]
    dims: tuple[Any, ...] = ("batch", 1, WIDTH)
    if side == "dense":
        dims = ("batch", "past", WIDTH)
        nodes += [
            node("Concat", ["state_0_0", "row"], ["all"], axis=1),
            node("Slice", ["all", "from", "to", "one"], ["next_0_0"]),
            node("ReduceSum", ["next_0_0", "one"], ["sum"], keepdims=1),
        ]
    else:
        nodes += [node("Add", ["state_0_0", "row"], ["next_0_0"]), node("Identity", ["next_0_0"], ["sum"])]
    nodes += [
        node("Tanh", ["sum"], ["bounded"]),
        node("MatMul", ["bounded", "head"], ["near"]),
        # Positions have no influence here, but must be read: a graph input without a use is dropped.
        node("Cast", ["position_ids"], ["place"], to=TensorProto.FLOAT),
        node("Mul", ["place", "nothing"], ["zero"]),
        node("Unsqueeze", ["zero", "one"], ["shift"]),
        node("Add", ["near", "shift"], ["logits"]),
    ]
    inputs = [(name, TensorProto.INT64, "batch", 1) for name in ("input_ids", "position_ids")]
    after = ("next_0_0", TensorProto.FLOAT, *("more" if dim == "past" else dim for dim in dims))
    return _model(
        nodes,
        [*inputs, ("state_0_0", TensorProto.FLOAT, *dims)],
        [("logits", TensorProto.FLOAT, "batch", 1, VOCABULARY), after],
        nothing=np.float32(0), to=np.array([2**31]), **{"from": np.array([-(remembers or 2**31)])},
    )  # fmt: skip


def _model(nodes: list[Any], inputs: list[Any], outputs: list[Any], **more: np.ndarray) -> onnx.ModelProto:
    used = {name for node in nodes for name in node.input}
    constants = {name: value for name, value in {**weights(), **more}.items() if name in used}
    body = helper.make_graph(
        nodes,
        "tiny",
        *(
            [helper.make_tensor_value_info(name, kind, dims) for name, kind, *dims in each]
            for each in (inputs, outputs)
        ),
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def samples(count: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    ids = rng.integers(1, VOCABULARY, size=(count, LENGTH))
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


def make(path: Path, *, remembers: int | None = None, longest: int | None = None, **changes: Any) -> Bundle:
    """Write the bundle into `path`. remembers: see `one_token`. changes: of the manifest."""
    path.mkdir(parents=True)
    golden, evaluation = samples(3, seed=1), samples(8, seed=2)
    right = logits(golden["input_ids"]).astype(np.float32)
    inputs = {f"input.{name}": array for name, array in golden.items()}
    np.savez(path / "samples.npz", **inputs, **{"student.logits": right, "teacher.logits": right})
    np.savez(path / "eval.npz", **{f"input.{name}": array for name, array in evaluation.items()})
    engines, decode = {}, {}
    for side, file in GRAPHS.items():
        onnx.save(whole(), path / file)
        RUNTIMES["onnxruntime"].build(path / file, path / "engine" / side, method="fp32")
        engines[side] = EngineRef(
            runtime="onnxruntime", path=f"engine/{side}", graph=file, method="fp32", least_cosine=0.9999
        )
        onnx.save(one_token(side, remembers=remembers), path / DECODE_GRAPHS[side])
        token, place = (
            TensorSpec(name=f"{each}_ids", dtype="int64", dims=("batch", 1)) for each in ("input", "position")
        )
        dims: tuple[Any, ...] = ("batch", "past" if side == "dense" else 1, WIDTH)
        decode[side] = DecodeGraph(
            graph=DECODE_GRAPHS[side], method="fp32",
            inputs=(token, place),
            outputs=(TensorSpec(name="logits", dtype="float32", dims=("batch", 1, VOCABULARY)),),
            carried=(Carried(name="state_0_0", next="next_0_0", dtype="float32", dims=dims),),
            least_cosine=0.9999, cosine=1.0,
        )  # fmt: skip
    manifest = Manifest(
        name="tiny-generation",
        description="A tiny language model.",
        created_utc="2026-01-01T00:00:00+00:00",
        recipe={"name": "tiny-generation", "schema": 1},
        plan=[{"layer": 0, "variant": "elu_linear", "options": {}}],
        target=tiny_bundle.this_machine(),
        inputs=tuple(TensorSpec(name=name, dtype="int64", dims=("batch", "sequence")) for name in golden),
        outputs=(TensorSpec(name="logits", dtype="float32", dims=("batch", "sequence", VOCABULARY)),),
        axes={"sequence": Axis(unit="tokens", mask="attention_mask", longest=longest)},
        length_axis="sequence",
        task=TaskSpec(
            kind="text-generation", metrics=("perplexity",), accept_metric="perplexity", accept_of_teacher=0.9
        ),
        bench=BenchSpec(lengths=(4,), batch_size=1, pairs=2),
        engines=engines,
        decode=decode,
        provenance={"teacher": "sha256:" + "0" * 64},
        libraries={"onnx": onnx.__version__},
        training={"student": {"perplexity": 20.0}},
    )
    return bundles.write(path, manifest.model_copy(update=changes))
