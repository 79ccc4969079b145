"""What takes minutes to build is built once: for timing, scoring and the finished bundle."""

from __future__ import annotations

import json

import pytest
import tiny_bundle

from edgeattn.bench.compare import Timing
from edgeattn.build.engines import Engines
from edgeattn.build.run import build
from edgeattn.build.trials import trials_of
from edgeattn.bundle import Bundle
from edgeattn.devices import fingerprint
from edgeattn.errors import ResourceError
from edgeattn.progress import Progress
from edgeattn.runtimes.onnxruntime import OnnxRuntime
from edgeattn.runtimes.tensorrt_family.gpu import gpu_here
from edgeattn.store import Store


@pytest.fixture
def built(monkeypatch):
    """Makes ONNX Runtime one that compiles; the graphs and shapes of its builds."""
    calls, build = [], OnnxRuntime.build

    def counted(self, graph, out, **options):
        calls.append((graph.parent.name, options))
        options["report"](1, 2, "compiling")
        return build(self, graph, out, **options)

    monkeypatch.setattr(OnnxRuntime, "compiles", True)
    monkeypatch.setattr(OnnxRuntime, "build", counted)
    return calls


@pytest.fixture(autouse=True)
def _untimed(monkeypatch):
    """What is tested is the building: every engine that was built has the same latency."""
    same = Timing({16: 1.0}, 1)
    monkeypatch.setattr(
        "edgeattn.build.timing.fastest", lambda engines, *_args, **_options: dict.fromkeys(engines, same)
    )


def unbuilt(folder, **options):
    return tiny_bundle.make(folder, candidates={"fp32": tiny_bundle.graph()}, **options)


def test_each_engine_is_built_once_and_again_only_for_another_machine(built, tmp_path):
    store = Store(tmp_path / "store")
    bundle = unbuilt(tmp_path / "first")
    build(bundle, store=store, progress=Progress())
    trials = [(folder, options["configuration"].name) for folder, options in built]
    assert len(trials) == 4  # two sides, two configurations
    assert len(set(trials)) == 4
    assert built[0][1]["shapes"][0]["input_ids"].most == (1, 16)
    assert built[0][1]["cache"].is_dir()
    shipped = json.loads((bundle.path / "engine" / "efficient" / "engine.json").read_text())
    assert shipped["graph"] == "model.onnx"
    assert Bundle.open(bundle.path).manifest.engines

    again = unbuilt(tmp_path / "again")
    (trial, *_) = trials_of(again.path, again.manifest.candidates, ["onnxruntime"], None)
    root = again.path / trial.candidate.folder
    for machine, count in ((fingerprint(), 4), ({**fingerprint(), "l4t": "36.4.3"}, 5)):
        Engines(again, machine, store, Progress()).make(trial, root, tmp_path / f"engine{count}")
        assert len(built) == count
        assert (tmp_path / f"engine{count}" / "engine.json").is_file()


def test_a_build_that_is_killed_for_memory_says_what_to_do_and_the_others_go_on(tmp_path, monkeypatch):
    make = OnnxRuntime.build

    def killed(self, graph, out, **options):
        if options["configuration"].name != "default":
            raise ResourceError("was killed (SIGKILL); its peak was 3100 MiB", fix="add swap")
        return make(self, graph, out, **options)

    monkeypatch.setattr(OnnxRuntime, "build", killed)
    document = build(unbuilt(tmp_path / "bundle"), store=Store(tmp_path / "store"), progress=Progress())
    failed = [row for row in document["candidates"] if row["state"] == "failed"]
    assert len(failed) == 2
    assert {row["why"] for row in failed} == {"was killed (SIGKILL); its peak was 3100 MiB; add swap"}
    assert document["efficient"]["chosen"] == "efficient fp32, onnxruntime"


@pytest.mark.skipif(gpu_here() is not None, reason="this machine has a GPU")
def test_a_runtime_that_needs_a_gpu_leaves_the_others_to_it(tmp_path):
    pytest.importorskip("tensorrt_rtx")
    both = [{"name": name, "opset": [17, 21], "methods": ["fp32"]} for name in ("tensorrt_rtx", "onnxruntime")]
    bundle = unbuilt(tmp_path / "bundle", target=tiny_bundle.this_machine(runtimes=both))
    offered = [
        each.model_copy(update={"runtimes": ("tensorrt_rtx", "onnxruntime")}) for each in bundle.manifest.candidates
    ]
    bundle.manifest = bundle.manifest.model_copy(update={"candidates": tuple(offered)})
    document = build(bundle, store=Store(tmp_path / "store"), progress=Progress())
    failed = {row["runtime"]: row["why"] for row in document["candidates"] if row["state"] == "failed"}
    assert list(failed) == ["tensorrt_rtx"]
    assert "needs an NVIDIA GPU" in failed["tensorrt_rtx"]
    assert document["efficient"]["chosen"].startswith("efficient fp32, onnxruntime")
