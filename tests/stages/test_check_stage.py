"""The stage that checks candidates: what it keeps, and what check.json says."""

from __future__ import annotations

import json
import logging
from types import SimpleNamespace

import numpy as np
import pytest
from check_graphs import F32, save
from onnx import helper

from edgeattn.bundle import Candidate
from edgeattn.check import preflight
from edgeattn.devices import load_device
from edgeattn.errors import ToolError, VerificationError
from edgeattn.progress import Progress
from edgeattn.report import check as shown
from edgeattn.stage import Job
from edgeattn.stages import check
from edgeattn.store import Artifact

X, Y = {"x": (F32, ["batch", "sequence", 8])}, {"y": (F32, ["batch", "sequence", 8])}
INTERFACE = {
    "inputs": [{"name": "x", "dtype": "float32", "dims": ["batch", "sequence", 8]}],
    "outputs": [{"name": "y", "dtype": "float32", "dims": ["batch", "sequence", 8]}],
    "axes": {"sequence": {"unit": "tokens", "longest": 64}},
    "length_axis": "sequence",
}


@pytest.fixture
def job(tmp_path, monkeypatch):
    """Candidates of both sides in fp32, and by default no TensorRT for RTX."""
    monkeypatch.setattr(preflight, "version", lambda: None)
    folders = [tmp_path / name for name in ("quantize", "export", "out", "work")]
    for folder in folders:
        folder.mkdir()
    candidates: list[Candidate] = []

    def add(side, method, operator, runtimes, **attributes):
        folder = folders[0] / "candidates" / f"{side}-{method}"
        folder.mkdir(parents=True)
        name = "model.onnx" if side == "efficient" else "dense.onnx"
        inputs = ["x", "w"] if operator == "LayerNormalization" else ["x"]
        weights = {"w": np.ones(8, np.float32)} if len(inputs) > 1 else {}
        save(folder / name, [helper.make_node(operator, inputs, ["y"], name="it", **attributes)], X, Y, weights)
        candidates.append(
            Candidate(name=f"{side} {method}", side=side, form="plain", method=method, rank=0, least_cosine=0.9,
                      folder=f"candidates/{folder.name}", runtimes=runtimes)
        )  # fmt: skip

    def made(target="jetson"):
        facts = {"candidates": [candidate.model_dump_json() for candidate in candidates]}
        inputs = {
            "quantize": Artifact(folders[0], "", facts, cached=False),
            "export": Artifact(folders[1], "", {"interface": INTERFACE}, cached=False),
        }
        recipe = SimpleNamespace(bench=SimpleNamespace(lengths=(16,), batch_size=2))
        return Job(recipe, load_device(target), inputs, None, None, folders[2], folders[3], Progress(bars=False))

    both = ("tensorrt", "onnxruntime")
    add("efficient", "fp32", "Relu", both)
    add("dense", "fp32", "Relu", both)
    return SimpleNamespace(add=add, made=made, out=folders[2])


def kept(facts):
    found = [Candidate.model_validate_json(text) for text in facts["candidates"]]
    return {candidate.name: candidate.runtimes for candidate in found}


def document(job):
    return json.loads((job.out / "check.json").read_text())


def test_what_every_release_takes_is_kept_as_it_is(job):
    facts = check(job.made())
    assert kept(facts) == {"efficient fp32": ("tensorrt", "onnxruntime"), "dense fp32": ("tensorrt", "onnxruntime")}
    assert facts["note"] == "2 of 2 candidates pass all parsers"
    found = document(job)
    assert [release["passed"] for release in found["candidates"][0]["releases"]] == [True] * 6
    assert found["preflight"] == {"tensorrt_rtx": None}
    assert shown.notes(found) == ["Pre-flight: not run, TensorRT for RTX was not installed (edgeattn[rtx])."]


def test_a_candidate_that_only_some_releases_take_stays_and_is_shown(job, caplog):
    job.add("efficient", "int8", "LayerNormalization", ("tensorrt",))
    with caplog.at_level(logging.WARNING, "edgeattn"):
        facts = check(job.made())
    assert kept(facts)["efficient int8"] == ("tensorrt",)
    assert facts["note"] == "2 of 3 candidates pass all parsers"
    assert caplog.messages == [
        "efficient int8: node it: LayerNormalization is not supported [JetPack 5.1 to 5.1.6 (TensorRT 8.5.2)]"
    ]
    head, rows = shown.grid(document(job))
    assert [row[0] for row in rows] == ["efficient fp32", "efficient int8", "dense fp32"]
    assert dict(zip(head, rows[1], strict=True)) == {
        "candidate": "efficient int8",
        "TensorRT 8.5.2": "no",
        **{f"TensorRT {version}": "yes" for version in ("8.6.2", "10.3.0", "10.16.2", "11.4.1")},
        "onnxruntime": "-",
        "pre-flight": "not run",
    }
    refused = document(job)["candidates"][1]
    _, cells = shown.finding_rows(refused["findings"], refused["releases"])
    assert any("LayerNormalization is not supported [operator]" in cell for row in cells for cell in row)


def test_a_candidate_that_nothing_takes_is_left_out(job, caplog):
    job.add("efficient", "int8", "Bernoulli", ("tensorrt",))
    job.add("dense", "int8", "Bernoulli", ("tensorrt", "onnxruntime"))
    with caplog.at_level(logging.WARNING, "edgeattn"):
        facts = check(job.made())
    assert "efficient int8" not in kept(facts)
    assert kept(facts)["dense int8"] == ("onnxruntime",)
    assert facts["left_out"] == ["efficient int8: Bernoulli: Bernoulli is not supported"]
    assert caplog.messages[-1] == "efficient int8: Bernoulli: Bernoulli is not supported; it is left out"
    assert document(job)["left_out"] == facts["left_out"]


def test_a_side_of_which_nothing_is_left_ends_the_compile(job):
    made = job.made()
    for side in ("efficient", "dense"):
        folder = made.path("quantize") / "candidates" / f"{side}-fp32"
        name = "model.onnx" if side == "efficient" else "dense.onnx"
        save(folder / name, [helper.make_node("Bernoulli", ["x"], ["y"])], X, Y)
    only = [
        Candidate.model_validate_json(text).model_copy(update={"runtimes": ("tensorrt",)}).model_dump_json()
        for text in made.facts("quantize")["candidates"]
    ]
    made.facts("quantize")["candidates"] = only
    with pytest.raises(VerificationError, match="no graph of the efficient model is one that jetson takes: efficient"):
        check(made)


def test_a_target_without_tensorrt_is_not_checked(job):
    facts = check(job.made("cpu"))
    assert facts["note"] == "no TensorRT among the target's runtimes"
    assert list(job.out.iterdir()) == []
    assert len(facts["candidates"]) == 2


def built(graph, *, sm, shapes, **_):
    (ranges,) = shapes
    assert (ranges["x"].least, ranges["x"].most) == ((1, 1, 8), (2, 16, 8))
    if "dense" in graph.name:
        raise ToolError("died of SIGSEGV", where="stage TensorRT for RTX")
    return {"passed": True, "problems": [], "tensorrt_rtx": "1.7.1", "sm": sm, "built_for": "8.6", "seconds": 8.04,
            "engine_bytes": 10, "layers": 3}  # fmt: skip


def test_the_preflight_builds_each_and_survives_a_crash(job, monkeypatch, caplog):
    monkeypatch.setattr(preflight, "version", lambda: "1.7.1")
    monkeypatch.setattr(preflight, "try_build", built)
    with caplog.at_level(logging.WARNING, "edgeattn"):
        facts = check(job.made())
    assert facts["note"] == "2 of 2 candidates pass all parsers, 1 of 2 built for SM 8.6"
    assert kept(facts)["dense fp32"] == ("tensorrt", "onnxruntime")  # another parser than the device's
    assert caplog.messages == ["dense fp32: pre-flight: the build ended with a crash: died of SIGSEGV"]
    head, rows = shown.grid(document(job))
    assert [row[head.index("pre-flight")] for row in rows] == [
        "built in 8.04 s",
        "refused: the build ended with a crash: died of SIGSEGV",
    ]
    assert "for SM 8.6 in place of SM 8.7, without a GPU" in shown.notes(document(job))[0]
