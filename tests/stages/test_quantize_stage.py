"""The stage that makes candidates: methods that go on from another's graph, and what is left out with its reason."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import attention_graph as case
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgeattn.bundle import Candidate, Interface
from edgeattn.devices.profile import DeviceProfile, RuntimeSupport
from edgeattn.errors import ModelError
from edgeattn.interface import Axis, TensorSpec
from edgeattn.progress import Progress
from edgeattn.quantize.fp16 import Fp16
from edgeattn.quantize.fp32 import Fp32
from edgeattn.quantize.int4_weights import Int4Weights
from edgeattn.quantize.int8 import Int8, Int8Options
from edgeattn.recipe.schema import Export, Quantize
from edgeattn.stage import Job
from edgeattn.stages.quantize import quantize
from edgeattn.store import Artifact

COUNT, LENGTH = 12, 9
ALL = ("fp32", "fp16", "int8-weights", "int8-dynamic", "int8", "int8-fp16", "int4-weights")


class Parts:
    """Of a recipe, what the stage reads."""

    def __init__(self, methods: list[Any]) -> None:
        self.quantize = Quantize.model_validate({"methods": methods})
        self.export = Export()


def job(folder: Path, methods: list[Any], runs: tuple[str, ...] = ALL) -> Job:
    """Both sides are the same small graph."""
    paths = {name: folder / name for name in ("data", "export", "out", "work")}
    for path in paths.values():
        path.mkdir()
    source = case.save(folder)
    for side in ("efficient", "dense"):
        model = onnx.load(source)
        onnx.save(
            model, paths["export"] / f"{side}.onnx",
            save_as_external_data=True, location=f"{side}.onnx.data", size_threshold=1024,
        )  # fmt: skip
    rng = np.random.default_rng(0)
    train, held_out = (rng.normal(size=(COUNT, LENGTH, case.C)).astype(np.float32) for _ in range(2))
    golden = case.outputs(source, held_out)
    np.savez(paths["data"] / "train.npz", x=train)
    np.savez(paths["data"] / "eval.npz", x=held_out)
    np.savez(paths["export"] / "samples.npz", **{"input.x": held_out, "student.out": golden, "teacher.out": golden})
    tensors = {"dtype": "float32", "dims": ("batch", "sequence", case.C)}
    interface = Interface(
        inputs=(TensorSpec(name="x", **tensors),), outputs=(TensorSpec(name="out", **tensors),),
        axes={"sequence": Axis(unit="tokens", longest=64)}, length_axis="sequence",
    )  # fmt: skip
    facts = {
        "opset": case.OPSET,
        "graphs": {side: {"operators": []} for side in ("efficient", "dense")},
        "interface": interface.model_dump(mode="json"),
    }
    support = RuntimeSupport(name="onnxruntime", opset=(17, 21), methods=runs)
    return Job(
        recipe=Parts(methods),  # type: ignore[arg-type]
        device=DeviceProfile(name="board", description="a board", runtimes=(support,)),
        inputs={
            "data": Artifact(paths["data"], "sha256:0", {}, True),
            "export": Artifact(paths["export"], "sha256:1", facts, True),
        },
        target_host=None, files_root=None, out=paths["out"], work=paths["work"], progress=Progress(),
    )  # fmt: skip


def made(job: Job) -> tuple[dict[str, Candidate], list[str]]:
    facts = quantize(job)
    candidates = [Candidate.model_validate_json(text) for text in facts["candidates"]]
    return {candidate.name: candidate for candidate in candidates}, facts["left_out"]


@pytest.fixture
def int8_calls(monkeypatch):
    """The options of each call of int8, which only copies the graph here: NNCF takes seconds."""
    calls = []

    def copied(cls, graph, out, *, options, **more):
        calls.append(options)
        Fp32.quantize(graph, out, options=options, **more)
        return {"sensitivity": {"first": 0.001}, "left_in_float": []}

    monkeypatch.setattr(Int8, "quantize", classmethod(copied))
    return calls


def test_int8_is_calibrated_once_for_both_methods(tmp_path, int8_calls):
    options = {"samples": 10, "least_cosine": 0.5}
    found, left_out = made(job(tmp_path, ["int8-fp16", {"method": "int8", "options": options}, "fp32"]))
    assert left_out == []
    assert list(found) == [
        f"{side} {name}" for side in ("efficient", "dense") for name in ("fp32", "int8", "int8-fp16")
    ]
    assert [(each.samples, each.least_cosine) for each in int8_calls] == [(10, 0.5)] * 2
    both, alone = (found[f"dense {name}"].facts for name in ("int8-fp16", "int8"))
    assert both.items() >= alone.items()
    assert set(both) - set(alone) == {"in_fp32", "overflow", "fp16_cosine", "fp16_samples"}
    assert both["fp16_cosine"] > 0.999


def test_int8_fp16_alone_makes_its_int8_graph_aside(tmp_path, int8_calls):
    here = job(tmp_path, ["fp32", "int8-fp16"], runs=("fp32", "int8-fp16"))
    found, _ = made(here)
    assert list(found) == ["efficient fp32", "efficient int8-fp16", "dense fp32", "dense int8-fp16"]
    assert sorted(path.name for path in (here.out / "candidates").iterdir()) == [
        "dense-fp32", "dense-int8-fp16", "efficient-fp32", "efficient-int8-fp16",
    ]  # fmt: skip
    assert int8_calls == [Int8Options()] * 2


@pytest.mark.usefixtures("int8_calls")
def test_what_goes_on_from_a_graph_that_was_left_out_is_left_out_too(tmp_path, monkeypatch):
    monkeypatch.setattr(Int8, "least_cosine", 1.1)
    found, left_out = made(job(tmp_path, ["fp32", "int8", "int8-fp16"]))
    assert list(found) == ["efficient fp32", "dense fp32"]
    assert left_out[1].startswith("efficient int8-fp16: int8, which it goes on from, was left out: cosine 1.0000 to")


def test_a_method_below_its_floor_is_left_out_with_its_reason(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(Int4Weights, "least_cosine", 0.9999)
    with caplog.at_level(logging.WARNING, logger="edgeattn"):
        found, left_out = made(job(tmp_path, ["fp32", "int8-weights", "int4-weights"]))
    assert "efficient int8-weights" in found
    assert "efficient int4-weights" not in found
    assert left_out[0].startswith("efficient int4-weights: cosine 0.99")
    assert "0.9999 is required; it is left out" in caplog.text


def test_methods_that_the_target_does_not_run_cost_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(Fp16, "quantize", None)
    found, _ = made(job(tmp_path, ["fp32", "fp16", "int8-dynamic"], runs=("fp32", "int8-dynamic")))
    assert {candidate.method for candidate in found.values()} == {"fp32", "int8-dynamic"}


def test_weights_that_are_not_finite_stop_it_with_the_tensors_name(tmp_path):
    here = job(tmp_path, ["fp32"])
    path = here.path("export") / "dense.onnx"
    model = onnx.load(path)
    weight = next(each for each in model.graph.initializer if each.name == "w1")
    weight.CopyFrom(numpy_helper.from_array(np.full((case.C, case.C), np.nan, np.float32), "w1"))
    onnx.save(model, path, save_as_external_data=True, location="dense.onnx.data", size_threshold=1024)
    with pytest.raises(ModelError, match=r"dense\.onnx: weight 'w1' has 4096 values that are NaN or infinite"):
        quantize(here)
    assert list(here.out.iterdir()) == []
