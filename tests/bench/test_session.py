"""The session on a real bundle, in real processes, within seconds."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import numpy as np
import pytest
import tiny_bundle

from edgeattn.bench import session
from edgeattn.bench.bundles import bench
from edgeattn.bench.compare import quick_compare
from edgeattn.bench.contestant import Case
from edgeattn.bench.engines import contestant, engine_of
from edgeattn.bench.inputs import bench_feeds
from edgeattn.bench.raw import unpack
from edgeattn.bench.run import run
from edgeattn.devices import usable_threads
from edgeattn.errors import BundleError, InputError, ToolError, VerificationError

POWER = {"kind": "none", "power_model": {"watts_per_core": 5.0, "source": "the test"}}


def test_the_document_has_both_sides_and_their_ratio(tiny, hasty):
    document = bench([tiny], lengths=[64, 8], pairs=2, threads=1, protocol=hasty)
    assert [cell["length"] for cell in document["cells"]] == [8, 64]
    assert list(document["contestants"]) == ["dense", "efficient"]
    assert (document["reference"], document["unit"]) == ("dense", "tokens")
    for cell in document["cells"]:
        for name, engine in cell["contestants"].items():
            facts = document["contestants"][name]
            assert facts["method"] == "fp32"
            assert facts["bundle"] == tiny.manifest.digest
            assert facts["cold_start_ms"] > engine["p50_ms"] > 0
            assert engine["peak_memory_mb"] > 0
            assert engine["energy_mj"] is None  # the device has no sensor
            assert len(engine["p50_ms_by_pair"]) == 2
        speedup = cell["speedups"]["efficient"]
        assert speedup["low"] <= speedup["ratio"] <= speedup["high"]
        assert (speedup["pairs"], speedup["confidence"]) == (2, 0.5)
    sizes = [(tiny.path / name).stat().st_size for name in ("dense.onnx", "engine/dense/engine.json")]
    assert document["contestants"]["dense"]["disk_bytes"] == sum(sizes)
    assert document["threads"] == document["contestants"]["efficient"]["runtime"]["threads"] == 1
    assert document["machine"]["cores_usable"] >= 1
    assert document["machine"]["affinity"] == sorted(os.sched_getaffinity(0))
    json.dumps(document, allow_nan=False)

    series = unpack(document)
    assert sorted(series) == sorted(
        f"{n}.{side}.{p}" for n in (8, 64) for side in ("dense", "efficient") for p in (0, 1)
    )
    engine = document["cells"][0]["contestants"]["efficient"]
    assert sum(len(series[f"8.efficient.{pair}"]) for pair in (0, 1)) == engine["samples"]
    assert 0 <= engine["outliers"] < engine["samples"]
    assert np.median(series["8.efficient.1"]) / 1e6 == engine["p50_ms_by_pair"][1]
    assert not (tiny.path / "bench.json").exists()  # a job records it


def test_memory_of_a_length_is_not_that_of_a_longer_one(tiny, hasty):
    document = bench([tiny], lengths=[8, 2048], pairs=1, threads=1, protocol=hasty)
    short, long = (cell["contestants"]["dense"]["peak_memory_mb"] for cell in document["cells"])
    assert long > short + 16  # its softmax map alone


def test_all_pairs_start_a_process_per_contestant_and_no_other(tiny, hasty, monkeypatch):
    started = []

    class Counted(session.Leg):
        def __init__(self, name, *arguments, **options):
            started.append(name)
            super().__init__(name, *arguments, **options)

    monkeypatch.setattr(session, "Leg", Counted)
    document = bench([tiny], lengths=[8, 64], pairs=2, protocol=hasty)
    assert sorted(started) == ["dense engine"] * 2 + ["efficient engine"] * 2
    assert document["protocol"]["processes"].startswith("a fresh one per contestant and pair, timed at every length")


def test_any_number_of_named_engines_take_turns(tiny, hasty):
    efficient = contestant(tiny, "efficient", 1)
    engines = {"old": efficient, "new": efficient, "dense": contestant(tiny, "dense", 1)}
    feeds = bench_feeds(tiny.manifest, tiny.arrays("eval"), length=512, batch_size=1, count=2)
    document = run(engines, [Case(512, 1, feeds)], reference="old", pairs=2, unit="tokens", protocol=hasty)
    (cell,) = document["cells"]
    assert list(cell["contestants"]) == ["old", "new", "dense"]
    assert list(cell["speedups"]) == ["new", "dense"]
    assert cell["speedups"]["dense"]["ratio"] < 1 < 2 * cell["speedups"]["new"]["ratio"]


@pytest.mark.parametrize("protocol", [{"energy_s": 0.3}, {"energy_s": 0.0, "block_s": 0.2}])
def test_energy_of_a_power_model_is_an_estimate(tmp_path, hasty, protocol):
    bundle = tiny_bundle.make(tmp_path / "tiny", target=tiny_bundle.this_machine(energy=POWER))
    cell = bench([bundle], lengths=[128], pairs=1, protocol=replace(hasty, **protocol))["cells"][0]
    engine = cell["contestants"]["efficient"]
    assert engine["energy_scope"] == "model"
    assert engine["energy_source"] == "estimate: the test"
    # At most all threads are busy all the time.
    assert 0 < engine["energy_mj"] < 2 * 5.0 * usable_threads() * engine["p50_ms"]
    assert cell["speedups"]["efficient"]["low"] is None  # one pair has no interval


def test_no_steady_state_is_recorded_and_no_p90_under_its_floor(tiny, hasty):
    protocol = replace(hasty, agree=-1.0, samples=8, block_s=0.0)
    engines = bench([tiny], lengths=[8], pairs=1, protocol=protocol)["cells"][0]["contestants"]
    assert engines["dense"]["steady"] is engines["efficient"]["steady"] is False
    assert engines["dense"]["p90_ms"] is None
    assert engines["dense"]["p50_ms"] > 0


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
        bench([bundle], pairs=1, protocol=hasty)
    assert raised.value.where == "efficient engine"


def test_lengths_of_a_model_whose_inputs_have_one_size(tiny, hasty):
    fixed = tuple(spec.model_copy(update={"dims": ("batch", 12)}) for spec in tiny.manifest.inputs)
    tiny.manifest = tiny.manifest.model_copy(update={"inputs": fixed, "axes": {}, "length_axis": None})
    with pytest.raises(InputError, match="the inputs of the model have one size"):
        bench([tiny], lengths=[8], protocol=hasty)


def test_a_target_that_is_no_device_is_said(tmp_path, hasty):
    bundle = tiny_bundle.make(tmp_path / "tiny", target={"name": "x", "description": "y"})
    with pytest.raises(BundleError, match=r"target\.runtimes: Field required"):
        bench([bundle], protocol=hasty)


def test_a_missing_side_is_said(tiny, hasty):
    tiny.manifest.engines.pop("dense")
    with pytest.raises(BundleError, match="the bundle has no dense engine"):
        bench([tiny], protocol=hasty)


def test_quick_compare_gives_a_latency_a_round_for_each(tiny):
    engines = {side: engine_of(tiny, side) for side in ("dense", "efficient")}
    feeds = bench_feeds(tiny.manifest, tiny.arrays("eval"), length=256, batch_size=1, count=2)
    timed = quick_compare(engines, feeds, rounds=3, block_s=0.01, warm_s=0.01)
    assert list(timed) == ["dense", "efficient"]
    assert [len(latencies) for latencies in timed.values()] == [3, 3]
    assert all(latency > 0 for latencies in timed.values() for latency in latencies)


def test_an_engine_that_cannot_run_is_named(tiny):
    feeds = [{"input_ids": np.array([[10**6]]), "attention_mask": np.array([[1]])}]
    with pytest.raises(ToolError, match="stage bench compare efficient: failed"):
        quick_compare({"efficient": engine_of(tiny, "efficient")}, feeds)


def test_the_unit_of_lengths_is_that_of_the_axis(tiny, hasty):
    axes = {"sequence": tiny.manifest.axes["sequence"].model_copy(update={"unit": "frames"})}
    tiny.manifest = tiny.manifest.model_copy(update={"axes": axes})
    assert bench([tiny], lengths=[8], pairs=1, protocol=hasty)["unit"] == "frames"
