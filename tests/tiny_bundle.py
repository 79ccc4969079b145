"""A tiny, real bundle: a two-layer text embedding in ONNX whose dense form also has softmax attention.

    bundle = tiny_bundle.make(tmp_path / "bundle")

The golden arrays come from ONNX's own reference evaluator, not from ONNX Runtime. The efficient graph can be
replaced by a broken one: `constant()`, `graph(poison=True)`, `graph(seed=5)`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from edgeattn import bundle as bundles
from edgeattn.bundle import Axis, BenchSpec, Bundle, Candidate, EngineRef, Interface, Manifest, TaskSpec, TensorSpec
from edgeattn.devices import probe_cpu
from edgeattn.manifest import GRAPHS, Side
from edgeattn.runtimes import RUNTIMES
from edgeattn.runtimes.base import DEFAULT, Configuration, ShapeRange
from edgeattn.runtimes.tensorrt_family.gpu import gpu_here
from edgeattn.store import sha256_file

VOCABULARY, WIDTH, LENGTH, SAMPLES, GOLDEN = 64, 16, 12, 24, 4
INPUTS = (
    TensorSpec(name="input_ids", dtype="int64", dims=("batch", "sequence")),
    TensorSpec(name="attention_mask", dtype="int64", dims=("batch", "sequence")),
)
OUTPUTS = (TensorSpec(name="sentence_embedding", dtype="float32", dims=("batch", WIDTH)),)
AXES = {"sequence": Axis(unit="tokens", mask="attention_mask")}
INTERFACE = Interface(inputs=INPUTS, outputs=OUTPUTS, axes=AXES, length_axis="sequence")


def graph(*, dense: bool = False, seed: int = 0, poison: bool = False) -> onnx.ModelProto:
    """input_ids, attention_mask [B, N] -> sentence_embedding [B, WIDTH], of length 1.

    dense: with softmax attention over all tokens, which adds only a little, so that both forms nearly agree.
    poison: with a NaN among the weights of the first golden token.
    """
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(VOCABULARY, WIDTH)).astype(np.float32)
    if poison:
        table[samples(GOLDEN)["input_ids"][0, 0], 0] = np.nan
    weights = {
        "table": table,
        "w1": (rng.normal(size=(WIDTH, WIDTH)) / 4).astype(np.float32),
        "w2": (rng.normal(size=(WIDTH, WIDTH)) / 4).astype(np.float32),
        "little": np.float32(1e-3),
        "low": np.float32(-1e9),
        "one": np.float32(1),
        "last": np.array([-1], dtype=np.int64),
        "middle": np.array([1], dtype=np.int64),
    }
    node = helper.make_node
    nodes = [
        node("Gather", ["table", "input_ids"], ["x0"]),
        node("MatMul", ["x0", "w1"], ["h1"]),
        node("Tanh", ["h1"], ["x1"]),
        node("MatMul", ["x1", "w2"], ["h2"]),
        node("Tanh", ["h2"], ["x2"]),
        node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
    ]
    if dense:
        nodes += [
            node("Transpose", ["x2"], ["keys"], perm=[0, 2, 1]),
            node("MatMul", ["x2", "keys"], ["scores"]),
            node("Sub", ["one", "mask"], ["hidden"]),
            node("Mul", ["hidden", "low"], ["penalty"]),
            node("Unsqueeze", ["penalty", "middle"], ["bias"]),
            node("Add", ["scores", "bias"], ["masked"]),
            node("Softmax", ["masked"], ["map"], axis=-1),
            node("MatMul", ["map", "x2"], ["mixed"]),
            node("Mul", ["mixed", "little"], ["small"]),
            node("Add", ["x2", "small"], ["tokens"]),
        ]
    else:
        nodes += [node("Identity", ["x2"], ["tokens"])]
    nodes += [
        node("Unsqueeze", ["mask", "last"], ["column"]),
        node("Mul", ["tokens", "column"], ["kept"]),
        node("ReduceSum", ["kept", "middle"], ["sum"], keepdims=0),
        node("ReduceL2", ["sum", "last"], ["size"], keepdims=1),
        node("Div", ["sum", "size"], ["sentence_embedding"]),
    ]
    return _model(nodes, weights)


def constant() -> onnx.ModelProto:
    """A graph that takes its inputs and always gives the same unit vector, as a broken cache does."""
    weights = {"row": np.eye(1, WIDTH, dtype=np.float32), "zero": np.float32(0), "last": np.array([-1])}
    node = helper.make_node
    nodes = [
        node("Cast", ["input_ids"], ["ids"], to=TensorProto.FLOAT),
        node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        node("Mul", ["ids", "mask"], ["both"]),
        node("ReduceSum", ["both", "last"], ["sum"], keepdims=1),
        node("Mul", ["sum", "zero"], ["nothing"]),
        node("Add", ["nothing", "row"], ["sentence_embedding"]),
    ]
    return _model(nodes, weights)


def _model(nodes: list[onnx.NodeProto], weights: dict[str, Any]) -> onnx.ModelProto:
    def tensor(spec: TensorSpec) -> onnx.ValueInfoProto:
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
        return helper.make_tensor_value_info(spec.name, kind, list(spec.dims))

    body = helper.make_graph(
        nodes,
        "tiny",
        [tensor(spec) for spec in INPUTS],
        [tensor(spec) for spec in OUTPUTS],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def small_graph(name: str) -> bytes:
    """An ONNX file of a hundred bytes that fits the fixture `manifest`. It is opened, never run."""
    tensors = [
        helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "sequence"]),
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10]),
    ]
    node = helper.make_node("Cast", ["input_ids"], ["logits"], to=TensorProto.FLOAT)
    body = helper.make_graph([node], name, tensors[:1], tensors[1:])
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()


def sign(path: Path) -> None:
    """Rewrite the digests of a bundle's files, as an attacker does after changing one."""
    document = json.loads((path / "bundle.json").read_text())
    for name in document["files"]:
        if (path / name).exists():
            document["files"][name] = {"sha256": sha256_file(path / name), "bytes": (path / name).stat().st_size}
    (path / "bundle.json").write_text(json.dumps(document))


def samples(count: int, seed: int = 1) -> dict[str, np.ndarray]:
    """Padded token ids of sentences of 3 to LENGTH tokens: name -> [count, LENGTH]."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, LENGTH + 1, size=count)
    lengths[0] = LENGTH
    mask = (np.arange(LENGTH) < lengths[:, None]).astype(np.int64)
    return {"input_ids": rng.integers(1, VOCABULARY, size=mask.shape) * mask, "attention_mask": mask}


def answers(model: onnx.ModelProto, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """sentence_embedding [S, WIDTH] by ONNX's reference evaluator."""
    return np.asarray(ReferenceEvaluator(model).run(None, inputs)[0], dtype=np.float32)


def build_engine(runtime: str, file: Path, out: Path, configuration: Configuration = DEFAULT) -> dict[str, Any]:
    """Build the engine of one of the graphs in `file` for batches of up to 8 and up to 130 tokens.

    TensorRT for RTX builds for a GPU that is not here, where none is.
    """
    if runtime == "tensorrt_rtx" and gpu_here() is None:
        configuration = Configuration(configuration.name, {**configuration.settings, "sm": "8.6"})
    shapes = [dict.fromkeys((spec.name for spec in INPUTS), ShapeRange((1, 1), (4, 32), (8, 130)))]
    return RUNTIMES[runtime].build(file, out, method="fp32", configuration=configuration, shapes=shapes)


def this_machine(**facts: Any) -> dict[str, Any]:
    """The profile of a device that is this machine, without a sensor."""
    return {
        "name": "test-device",
        "description": "a device of the tests",
        "probe": True,
        "cpu": probe_cpu().model_dump(mode="json"),
        "runtimes": [{"name": "onnxruntime", "opset": [17, 21], "methods": ["fp32"]}],
        **facts,
    }


def make(
    path: Path,
    *,
    efficient: onnx.ModelProto | None = None,
    target: dict[str, Any] | None = None,
    name: str = "tiny",
    runtime: str = "onnxruntime",
    candidates: Mapping[str, onnx.ModelProto] | None = None,
    floor: float = 0.95,
) -> Bundle:
    """Write the bundle into `path`.

    efficient: the shipped graph; the golden arrays stay those of the correct one.
    target: the device profile. runtime: of the engines.
    candidates: method -> graph of the efficient model; the bundle is then not built.
    """
    path.mkdir(parents=True)
    teacher, student = graph(dense=True), graph()
    golden, evaluation = samples(GOLDEN), samples(SAMPLES, seed=2)
    rng = np.random.default_rng(3)
    truth = answers(teacher, evaluation)
    pairs = rng.integers(0, SAMPLES, size=(30, 2))
    np.savez(
        path / "samples.npz",
        **{f"input.{key}": value for key, value in golden.items()},
        **{"teacher.sentence_embedding": answers(teacher, golden)},
        **{"student.sentence_embedding": answers(student, golden)},
    )
    np.savez(
        path / "eval.npz",
        **{f"input.{key}": value for key, value in evaluation.items()},
        **{"reference.sentence_embedding": truth, "label.pairs": pairs},
        **{"label.scores": np.sum(truth[pairs[:, 0]] * truth[pairs[:, 1]], axis=1) + 0.1 * rng.normal(size=30)},
    )
    engines, offered = {}, []
    for side, file, model in (
        ("efficient", "model.onnx", efficient or student),
        ("dense", "dense.onnx", teacher),
    ):
        if candidates is not None:
            graphs = candidates if side == "efficient" else {"fp32": model}
            offered += [_candidate(path, side, rank, *each) for rank, each in enumerate(graphs.items())]
            continue
        onnx.save(model, path / file)
        folder = path / "engine" / side
        build_engine(runtime, path / file, folder)
        engines[side] = EngineRef(
            runtime=runtime, path=f"engine/{side}", graph=file, method="fp32", least_cosine=0.9999
        )
    manifest = Manifest(
        name=name,
        description="A tiny text embedding.",
        created_utc="2026-01-01T00:00:00+00:00",
        recipe={"name": name, "schema": 1},
        plan=[{"layer": 0, "variant": "hedgehog", "options": {"features": 16}}],
        target=target or this_machine(),
        **dict(INTERFACE),
        task=TaskSpec(
            kind="text-embedding",
            metrics=("spearman", "teacher_cosine"),
            accept_metric="spearman",
            accept_of_teacher=floor,
        ),
        bench=BenchSpec(lengths=(16,), batch_size=1, pairs=3),
        engines=engines,
        candidates=tuple(offered),
        provenance={"teacher": "sha256:" + "0" * 64},
        libraries={"onnx": onnx.__version__},
        training={"student": {"spearman": 0.8}},
    )
    return bundles.write(path, manifest)


def _candidate(path: Path, side: Side, rank: int, method: str, model: onnx.ModelProto) -> Candidate:
    folder = f"candidates/{side}-{method}"
    (path / folder).mkdir(parents=True)
    onnx.save(model, path / folder / GRAPHS[side])
    return Candidate(
        name=f"{side} {method}", side=side, form="plain", method=method, rank=rank, folder=folder,
        runtimes=("onnxruntime",), least_cosine=0.9, cosine=1.0,
    )  # fmt: skip
