"""Profiles of real engines, by the profilers of the runtimes that run here, and `edgeattn bench --profile`."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
import tiny_bundle
from encoder_graphs import encoder
from runtimes_here import require, that_run

from edgeattn.bench.protocol import Protocol
from edgeattn.bundle import Bundle
from edgeattn.cli.main import run
from edgeattn.export.buckets import fix_length
from edgeattn.jobs import Bench
from edgeattn.profiling import run as profiling
from edgeattn.profiling.attribute import attribute, cell
from edgeattn.report.profile import show_profile
from edgeattn.runtimes import RUNTIMES
from edgeattn.runtimes.nodes import read_nodes

every_runtime = pytest.mark.parametrize("name", list(RUNTIMES))
PEAKS = {"peaks": {"fp32": 0.1}, "bandwidth_gb_per_s": 20}  # else the rates of this machine are measured
QUICK = ["--quick", "--pairs", "1", "--lengths", "8", "--profile"]


SIDES = ("dense", "efficient")
BENCH = {
    "contestants": dict.fromkeys(SIDES), "threads": 1, "unit": "tokens",
    "cells": [{"length": 8, "batch_size": 1, "contestants": {side: {"p50_ms": 1.0} for side in SIDES}}],
}  # fmt: skip


@pytest.fixture
def hasty(monkeypatch):
    """--quick takes milliseconds."""
    protocol = replace(Protocol.quick(), window_s=0.005, warm_min_s=0.01, warm_max_s=0.02, block_s=0.005, samples=2)
    monkeypatch.setattr(Protocol, "quick", classmethod(lambda cls: protocol))


@pytest.fixture
def root(tmp_path, name):
    """A folder with the encoder and its engine."""
    require(name, to_run=True)
    onnx.save(encoder(), tmp_path / "model.onnx")
    RUNTIMES[name].build(tmp_path / "model.onnx", tmp_path / "engine", method="fp32")
    return tmp_path


def tokens(length):
    return {"tokens": np.arange(length, dtype=np.int64)[None] % 32}


@every_runtime
def test_operators_are_those_of_the_graph(name, root):
    found = RUNTIMES[name].profile(root, root / "engine", tokens(12), inferences=6, threads=1)
    nodes = read_nodes(root / "model.onnx")
    assert found.graph == "model.onnx"
    assert found.inference_ms > 0
    claimed = {node for operator in found.operators for node in operator.nodes}
    assert claimed <= set(nodes.by_name)
    assert {"node_q0", "node_MatMul_1", "node_out1", "node_scores0", "node_mixed1"} <= claimed, "every product"
    sums = cell(attribute(found.operators, nodes), nodes)
    assert sum(each["ms"] for each in sums["layers"]) == pytest.approx(sums["total_ms"])
    assert sums["total_ms"] == pytest.approx(sum(operator.ms for operator in found.operators))
    assert {"matmul", "attention", "norm"} <= {each["kind"] for each in sums["kinds"]}
    assert [each["layer"] for each in sums["layers"] if each["layer"].isdigit()] == ["0", "1"]


@every_runtime
def test_inputs_that_fit_a_bucket_profile_its_graph(name, root):
    if RUNTIMES[name].compiles:
        pytest.skip("its engines have optimization profiles in place of buckets")
    fix_length(root / "model.onnx", root / "model-16.onnx", "n", 16)
    RUNTIMES[name].add_buckets(root / "engine", {16: "model-16.onnx"})
    graphs = [
        RUNTIMES[name].profile(root, root / "engine", tokens(length), inferences=2, threads=1).graph
        for length in (9, 17)
    ]
    assert graphs == ["model-16.onnx", "model.onnx"]


@pytest.mark.parametrize("name", that_run())
def test_bench_profile_records_where_the_time_goes(tmp_path, hasty, name, capsys):
    support = {"name": name, "opset": [17, 21], "methods": ["fp32"]}
    device = tiny_bundle.this_machine(runtimes=[support], **PEAKS)
    bundle = tiny_bundle.make(tmp_path / "tiny", runtime=name, target=device)
    out = tmp_path / "out"
    elsewhere = name != "onnxruntime"  # one of the runtimes shows that results may go into another folder
    assert run(["bench", str(bundle.path), *QUICK, *(["--out", str(out), "--json"] if elsewhere else [])]) == 0
    printed, folder = capsys.readouterr().out, out if elsewhere else bundle.path
    document = json.loads((folder / "profile.json").read_text())
    if elsewhere:
        assert json.loads(printed)["profile"] == document
        assert not (bundle.path / "profile.json").exists()
    else:
        assert "Where the time goes:\ntokens  engine     kind" in printed
        assert "efficient at 8 tokens, ms by layer: " in printed
        assert "under the profiler" in printed
    assert document["schema"] == 1
    assert document["bundle"] == Bundle.open(bundle.path).manifest.digest
    assert list(document["contestants"]) == ["dense", "efficient"]
    bench = json.loads((folder / "bench.json").read_text())
    assert "profile" not in bench
    for side, contestant in document["contestants"].items():
        (found,) = contestant["cells"]
        assert contestant["runtime"] == name
        assert found["length"] == 8
        assert found["timed_ms"] == bench["cells"][0]["contestants"][side]["p50_ms"]
        assert sum(each["ms"] for each in found["kinds"]) == pytest.approx(found["total_ms"])
        assert found["roofline_ms"] > 0
        assert 0 < found["counted"] <= 1
    assert document["roofline"]["unavailable"] is None
    assert document["roofline"]["basis"] == "test-device's dense peaks of 0.1 in fp32 Tops/s and its memory's 20 GB/s"


def test_a_runtime_that_cannot_say_is_reported_and_not_left_out(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(profiling, "profile", lambda *_: None)
    bundle = tiny_bundle.make(tmp_path / "tiny")
    show_profile(profiling.profiled([bundle], BENCH))
    said = "no profile: its runtime does not say what its operators take"
    assert f"dense: {said}\nefficient: {said}\n" in capsys.readouterr().out


def test_a_device_is_told_to_profile():
    assert Bench(quick=True, profile=True).arguments() == ("--quick", "--profile")
