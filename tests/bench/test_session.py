"""The session on a real bundle, in real processes, within seconds."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import tiny_bundle

from edgeattn.bench.compare import quick_compare
from edgeattn.bench.inputs import bench_feeds
from edgeattn.bench.raw import unpack
from edgeattn.bench.session import engine_of, run
from edgeattn.bundle import Bundle
from edgeattn.errors import BundleError, InputError, ResourceError, ToolError, VerificationError

POWER = {"kind": "none", "power_model": {"watts_per_core": 5.0, "source": "the test"}}


def test_the_document_has_both_sides_and_their_ratio(tiny, hasty):
    document = run(tiny, lengths=[8, 64], pairs=2, threads=1, protocol=hasty)
    assert [cell["length"] for cell in document["cells"]] == [8, 64]
    for cell in document["cells"]:
        for side in (cell["dense"], cell["efficient"]):
            assert side["method"] == "fp32"
            assert side["p50_ms"] > 0
            assert side["cold_start_ms"] > side["p50_ms"]
            assert side["peak_memory_mb"] > 0
            assert side["energy_mj"] is None  # the device has no sensor
            assert len(side["p50_ms_by_pair"]) == 2
        speedup = cell["speedup"]
        assert speedup["low"] <= speedup["ratio"] <= speedup["high"]
        assert (speedup["pairs"], speedup["confidence"]) == (2, 0.5)
        sizes = [(tiny.path / name).stat().st_size for name in ("dense.onnx", "engine/dense/engine.json")]
        assert cell["dense"]["disk_bytes"] == sum(sizes)
    assert document["threads"] == document["runtime"]["efficient"]["threads"] == 1
    assert document["machine"]["cores_usable"] >= 1

    recorded = json.loads((tiny.path / "bench.json").read_text())
    assert recorded == json.loads(json.dumps(document))
    series = unpack(recorded)
    assert sorted(series) == sorted(
        f"{n}.{side}.{p}" for n in (8, 64) for side in ("dense", "efficient") for p in (0, 1)
    )
    cell = document["cells"][0]["efficient"]
    assert sum(len(series[f"8.efficient.{pair}"]) for pair in (0, 1)) == cell["samples"]
    assert np.median(series["8.efficient.1"]) / 1e6 == cell["p50_ms_by_pair"][1]
    Bundle.open(tiny.path)  # still one, with the report listed


def test_energy_of_a_power_model_is_an_estimate(tmp_path, hasty):
    bundle = tiny_bundle.make(tmp_path / "tiny", target=tiny_bundle.this_machine(energy=POWER))
    cell = run(bundle, lengths=[128], pairs=1, protocol=replace(hasty, energy_s=0.3))["cells"][0]
    assert cell["efficient"]["energy_scope"] == "model"
    assert cell["efficient"]["energy_source"] == "estimate: the test"
    assert cell["efficient"]["energy_mj"] > 0
    assert cell["speedup"]["low"] is None  # one pair has no interval


def test_no_steady_state_is_recorded_and_no_p90_under_its_floor(tiny, hasty):
    protocol = replace(hasty, agree=-1.0, samples=8, block_s=0.0)
    cell = run(tiny, lengths=[8], pairs=1, protocol=protocol)["cells"][0]
    assert cell["dense"]["steady"] is cell["efficient"]["steady"] is False
    assert cell["dense"]["p90_ms"] is None
    assert cell["dense"]["p50_ms"] > 0


@pytest.mark.parametrize(
    ("efficient", "message"),
    [
        (tiny_bundle.constant(), "output 'sentence_embedding' differs from the student's"),
        (tiny_bundle.graph(seed=5), "output 'sentence_embedding' differs from the student's"),
        (tiny_bundle.graph(poison=True), "values that are not finite"),
    ],
)
def test_the_timing_of_a_wrong_engine_is_refused(tmp_path, hasty, efficient, message):
    bundle = tiny_bundle.make(tmp_path / "tiny", efficient=efficient)
    with pytest.raises(VerificationError, match=message) as raised:
        run(bundle, pairs=1, protocol=hasty)
    assert raised.value.where == "efficient engine"
    assert not (bundle.path / "bench.json").exists()


def test_lengths_of_a_model_without_a_sequence(tiny, hasty):
    fixed = tuple(spec.model_copy(update={"dims": ("batch", 12)}) for spec in tiny.manifest.inputs)
    tiny.manifest = tiny.manifest.model_copy(update={"inputs": fixed})
    with pytest.raises(InputError, match="the model has no sequence input"):
        run(tiny, lengths=[8], protocol=hasty)


def test_a_bundle_that_cannot_take_the_result_is_not_timed(tiny, hasty, monkeypatch):
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write anywhere
    with pytest.raises(ResourceError, match="the folder is read-only"):
        run(tiny, protocol=hasty)


def test_a_target_that_is_no_device_is_said(tmp_path, hasty):
    bundle = tiny_bundle.make(tmp_path / "tiny", target={"name": "x", "description": "y"})
    with pytest.raises(BundleError, match=r"target\.runtimes: Field required"):
        run(bundle, protocol=hasty)


def test_a_missing_side_is_said(tiny, hasty):
    tiny.manifest.engines.pop("dense")
    with pytest.raises(BundleError, match="the bundle has no dense engine"):
        run(tiny, protocol=hasty)


def test_quick_compare_gives_a_latency_a_round_for_each(tiny):
    engines = {side: engine_of(tiny, side) for side in ("dense", "efficient")}
    feeds = bench_feeds(tiny.manifest.inputs, tiny.arrays("eval"), length=256, batch_size=1, count=2)
    timed = quick_compare(engines, feeds, rounds=3, block_s=0.01, warm_s=0.01)
    assert list(timed) == ["dense", "efficient"]
    assert [len(latencies) for latencies in timed.values()] == [3, 3]
    assert all(latency > 0 for latencies in timed.values() for latency in latencies)


def test_an_engine_that_cannot_run_is_named(tiny):
    feeds = [{"input_ids": np.array([[10**6]]), "attention_mask": np.array([[1]])}]
    with pytest.raises(ToolError, match="stage bench compare efficient: failed"):
        quick_compare({"efficient": engine_of(tiny, "efficient")}, feeds)
