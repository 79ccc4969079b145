"""`edgeattn build`: an unbuilt bundle becomes one with engines, in place, and nothing is measured twice."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import tiny_bundle

from edgeattn.build import run as job
from edgeattn.build import timing
from edgeattn.build.run import build
from edgeattn.bundle import Bundle
from edgeattn.cli.main import run
from edgeattn.errors import BundleError, DeviceError, ToolError, VerificationError
from edgeattn.progress import Progress
from edgeattn.store import Store

RIGHT, WRONG = tiny_bundle.graph(), tiny_bundle.graph(seed=5)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def unbuilt(tmp_path):
    """Makes an unbuilt bundle with these candidates of the efficient model."""

    def made(candidates=None, name="unbuilt", **options):
        return tiny_bundle.make(tmp_path / name, candidates=candidates or {"fp32": RIGHT}, **options)

    return made


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_built_bundle_has_the_engines_and_not_the_candidates(unbuilt, store):
    bundle = unbuilt()
    document = build(bundle, store=store, progress=Progress())
    assert files(bundle.path) == [
        *("build.json", "bundle.json", "dense.onnx", "engine/dense/engine.json", "engine/efficient/engine.json"),
        *("eval.npz", "model.onnx", "samples.npz"),
    ]
    opened = Bundle.open(bundle.path)
    assert opened.manifest.candidates == ()
    assert {side: engine.graph for side, engine in opened.manifest.engines.items()} == {
        "efficient": "model.onnx",
        "dense": "dense.onnx",
    }
    assert json.loads((bundle.path / "build.json").read_text()) == document
    assert {row["name"] for row in document["candidates"] if row["side"] == "efficient"} == {
        "efficient fp32, onnxruntime",
        "efficient fp32, onnxruntime no SkipLayerNormFusion",
    }
    assert [row["state"] for row in document["candidates"]].count("shipped") == 2
    assert all(row["latency_ms"]["16"] > 0 for row in document["candidates"])


def test_build_verify_and_bench_are_three_commands(unbuilt, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("EDGEATTN_CACHE", str(tmp_path / "cache"))
    bundle = unbuilt()
    for command in ("verify", "bench"):
        assert run([command, str(bundle.path)]) == 2
        assert f"is not built yet: it holds candidates and no engine\n  fix: run `edgeattn build {bundle.path}`" in (
            capsys.readouterr().err
        )
    assert run(["build", str(bundle.path)]) == 0
    assert "efficient fp32, onnxruntime at " in capsys.readouterr().out
    assert run(["verify", str(bundle.path)]) == 0
    assert (bundle.path / "report.html").is_file()
    assert run(["build", str(bundle.path)]) == 2
    assert "is built already" in capsys.readouterr().err


def test_a_candidate_that_fails_the_floor_is_listed_and_not_shipped(unbuilt, store, monkeypatch):
    def timings(bundle, trials, *_):
        slow = {trial.name: {16: 5.0 if trial.candidate.method == "fp32" else 1.0} for trial in trials}
        return timing.Timings(slow, {}, frozenset())

    monkeypatch.setattr(job, "time_trials", timings)
    document = build(unbuilt({"fp32": RIGHT, "int8": WRONG}), store=store, progress=Progress())
    assert document["efficient"]["chosen"] == "efficient fp32, onnxruntime"
    states = {row["name"]: row["state"] for row in document["candidates"]}
    assert states["efficient int8, onnxruntime"] == "below the floor"
    assert "efficient int8, onnxruntime fails the floor (spearman " in document["efficient"]["because"]


def test_no_candidate_above_the_floor_leaves_the_bundle_as_it_was(unbuilt, store):
    bundle = unbuilt({"fp32": WRONG})
    before = {name: (bundle.path / name).read_bytes() for name in files(bundle.path)}
    with pytest.raises(VerificationError, match="no candidate for the efficient model keeps the accuracy floor"):
        build(bundle, store=store, progress=Progress())
    assert {name: (bundle.path / name).read_bytes() for name in files(bundle.path)} == before


def test_another_floor_times_and_scores_nothing_again(unbuilt, store, monkeypatch):
    build(unbuilt(), store=store, progress=Progress())
    monkeypatch.setattr(timing, "fastest", None)
    monkeypatch.setattr("edgeattn.build.scoring.Leg", None)
    document = build(unbuilt(name="again", floor=0.5), store=store, progress=Progress())
    assert document["floor"] < 0.6


def test_another_machine_measures_again(unbuilt, store, monkeypatch):
    build(unbuilt(), store=store, progress=Progress())
    monkeypatch.setattr(job, "fingerprint", lambda: {"cpu_model": "another"})
    monkeypatch.setattr(timing, "fastest", None)
    with pytest.raises(TypeError):
        build(unbuilt(name="again"), store=store, progress=Progress())


def test_kept_candidates_can_be_built_again(unbuilt, store):
    bundle = unbuilt()
    build(bundle, store=store, progress=Progress(), keep_candidates=True)
    again = Bundle.open(bundle.path)
    assert len(again.manifest.candidates) == 2
    build(again, store=store, progress=Progress())
    assert Bundle.open(bundle.path).manifest.candidates == ()


def test_a_bundle_of_another_device_is_not_built_here(unbuilt, store):
    profile = tiny_bundle.this_machine(probe=False, cpu={"model": "Cortex-A76", "cores": 4})
    with pytest.raises(
        DeviceError, match=r"test-device is not this machine: its processor is .* here, Cortex-A76 there"
    ):
        build(unbuilt(target=profile), store=store, progress=Progress())


def test_a_graph_that_does_not_run_is_named(unbuilt, store):
    """Both engines of the candidate fail, the dense ones run."""
    broken = tiny_bundle.graph()
    broken.graph.node[0].op_type = "NoSuchOperator"
    document = build(unbuilt({"fp32": RIGHT, "int8": broken}), store=store, progress=Progress())
    failed = [row for row in document["candidates"] if row["state"] == "failed"]
    assert {row["method"] for row in failed} == {"int8"}
    assert all("NoSuchOperator" in row["why"] for row in failed)
    with pytest.raises(VerificationError, match="no candidate of the efficient model runs here: efficient int8"):
        build(unbuilt({"int8": broken}, name="broken"), store=store, progress=Progress())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda candidate: candidate.update(folder="../x"), "candidates.0.folder: String should match pattern"),
        (lambda candidate: candidate.update(runtimes=["tensorflow"]), "needs the unknown runtime 'tensorflow'"),
        (lambda candidate: candidate.update(folder="candidates/other"), "candidates/other/model.onnx is not listed"),
    ],
)
def test_a_tampered_candidate_is_refused_before_it_is_run(unbuilt, change, said):
    path = unbuilt().path / "bundle.json"
    document = json.loads(path.read_text())
    change(document["candidates"][0])
    path.write_text(json.dumps(document))
    with pytest.raises(BundleError) as caught:
        Bundle.open(path.parent)
    assert said in str(caught.value)


def test_a_killed_build_leaves_the_bundle_unbuilt_and_the_next_one_works(unbuilt, store, monkeypatch):
    bundle = unbuilt()

    def die(*_):
        raise ToolError("killed")

    with monkeypatch.context() as patch:
        patch.setattr("edgeattn.bundle._put_in_place", die)
        with pytest.raises(ToolError):
            build(Bundle.open(bundle.path), store=store, progress=Progress())
    left = Path(f"{bundle.path.parent}/.unbuilt.edgeattn-new")
    assert not left.exists()
    shutil.copytree(bundle.path, left)  # what a SIGKILL in the middle leaves
    build(Bundle.open(bundle.path), store=store, progress=Progress())
    assert Bundle.open(bundle.path).manifest.engines
