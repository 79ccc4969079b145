"""Batches back to back, requests that arrive at random, and which percentile each session has samples for."""

from __future__ import annotations

import itertools
import json
import time
from dataclasses import replace

import numpy as np
import pytest
import tiny_bundle

from edgeattn.bench.bundles import bench
from edgeattn.bench.measured import InCase
from edgeattn.bench.protocol import Protocol
from edgeattn.bench.raw import unpack
from edgeattn.bench.scenarios import SCENARIOS, Budget, document_name, scenario_of
from edgeattn.bench.scenarios.server import arrivals_ns, serve
from edgeattn.bundle import Bundle
from edgeattn.cli.main import run
from edgeattn.errors import InputError, VerificationError
from edgeattn.manifest import REPORTS

FAST = ["--quick", "--lengths", "8", "--pairs", "1"]


def budget(**changed) -> Budget:
    return Budget(**{"seconds": 1.0, "at_least": 1, "limit_s": 4.0, "at_most": 10_000, "seed": "0.0.0.0", **changed})


class Slow:
    """An engine whose inference takes at least 2 ms."""

    def run(self, feeds):
        time.sleep(0.002)
        return {}


def served(due_ms, give_up_ms=1e6):
    feeds = itertools.repeat({})
    return serve(Slow(), feeds, due_ns=[int(ms * 1e6) for ms in due_ms], give_up_ns=int(give_up_ms * 1e6))


def test_offline_times_batches_and_reports_samples(tiny, hasty):
    document = bench([tiny], lengths=[8], pairs=2, scenario=scenario_of("offline", batch_size=4), protocol=hasty)
    assert (document["scenario"], document["figure"]) == ("offline", "ms_per_sample")
    (cell,) = document["cells"]
    assert cell["batch_size"] == 4
    series, each = unpack(document), {}
    for name, engine in cell["contestants"].items():
        by_pair = [series[f"8.{name}.{pair}"].mean() / 4 / 1e6 for pair in (0, 1)]
        assert engine["ms_per_sample"] == pytest.approx(np.median(by_pair))
        assert engine["samples_per_s"] == pytest.approx(1e3 / engine["ms_per_sample"])
        assert engine["p50_ms"] == pytest.approx(np.median([np.median(series[f"8.{name}.{p}"]) / 1e6 for p in (0, 1)]))
        each[name] = by_pair
    ratios = np.log(np.array(each["dense"]) / np.array(each["efficient"]))
    assert cell["speedups"]["efficient"]["ratio"] == pytest.approx(np.exp(ratios.mean()))
    assert document["notes"] == ["latency and energy are those of a batch of 4"]


@pytest.mark.parametrize("scenario", ["offline", "server"])
def test_a_wrong_engine_is_refused_in_every_scenario(tmp_path, hasty, scenario):
    bundle = tiny_bundle.make(tmp_path / "tiny", efficient=tiny_bundle.constant())
    with pytest.raises(VerificationError, match="output 'sentence_embedding' differs from the student's"):
        bench([bundle], lengths=[8], pairs=1, scenario=scenario_of(scenario), protocol=hasty)


def test_graphs_of_one_batch_size_have_no_batches(tiny, hasty):
    fixed = tuple(spec.model_copy(update={"dims": (1, "sequence")}) for spec in tiny.manifest.inputs)
    tiny.manifest = tiny.manifest.model_copy(update={"inputs": fixed})
    with pytest.raises(InputError, match=r"the input 'input_ids' is \[1, 'sequence'\]: its batch size is fixed"):
        bench([tiny], lengths=[8], scenario=scenario_of("offline"), protocol=hasty)


def test_batches_that_fill_memory_are_refused(tiny, hasty, monkeypatch, capsys):
    assert run(["bench", str(tiny.path), *FAST, "--scenario", "offline", "--batch-size", "1000000"]) == 2
    assert "batch size 1000000 at length 8 is more than 4194304 tokens at once" in capsys.readouterr().err
    monkeypatch.setattr("edgeattn.bench.inputs.LARGEST_BYTES", 10_000)
    with pytest.raises(InputError, match=r"4 inputs of batch size 64 take .* GB, more than the limit"):
        bench([tiny], lengths=[8], scenario=scenario_of("offline", batch_size=64), protocol=hasty)


def test_arrivals_are_seeded_ascending_and_of_exactly_the_rate():
    due = arrivals_ns(100.0, budget(at_least=662, limit_s=30.0))
    assert due == arrivals_ns(100.0, budget(at_least=662, limit_s=30.0)) == sorted(due)
    assert len(due) == 662
    assert 0 <= due[0] < due[-1] < 6.62e9
    assert due != arrivals_ns(100.0, budget(at_least=662, limit_s=30.0, seed="0.1.0.0"))
    gaps = np.diff(due)
    assert gaps.std() / gaps.mean() == pytest.approx(1.0, abs=0.15)  # as of exponential gaps
    # No longer than its limit, however many samples are wanted; and no more than fill memory.
    assert len(arrivals_ns(10.0, budget(at_least=662))) == 40
    assert len(arrivals_ns(1e9, budget(at_most=10**7))) == 100_000


def test_a_latency_counts_from_the_moment_at_which_its_request_was_due():
    found = served([0, 0, 0])
    assert found["served"] == found["requests"] == 3
    for place, ns in enumerate(found["ns"], start=1):
        assert ns >= place * 2e6  # behind all that were before it
    assert len(found["late_ns"]) == 1  # only the first waited for nothing but its time
    assert found["busy_s"] >= 0.006


def test_requests_that_are_not_served_count_with_the_time_they_waited():
    found = served([0, 1, 2, 3], give_up_ms=3.5)
    assert found["served"] < found["requests"] == len(found["ns"]) == 4
    assert found["ns"][-1] == 500_000  # at least


def test_server_offers_all_contestants_the_same_requests(tiny, hasty):
    document = bench([tiny], lengths=[8], pairs=1, scenario=scenario_of("server", rate_per_s=500.0), protocol=hasty)
    (cell,) = document["cells"]
    assert (document["scenario"], document["figure"]) == ("server", "p90_ms")  # 64 requests in each process
    assert (cell["rate_per_s"], cell["rate_from"]) == (500.0, "given")
    assert {engine["samples"] for engine in cell["contestants"].values()} == {64}
    for engine in cell["contestants"].values():
        assert engine["rate_per_s"] == pytest.approx(500.0)
        assert 0 < engine["completed_per_s"] <= engine["rate_per_s"] * 1.001
        assert engine["p90_ms"] >= engine["p50_ms"] > 0
        assert engine["p99_ms"] is None
        assert engine["wake_up_p50_ms"] >= 0
    assert document["protocol"]["blocks"] == 1
    assert document["compares"].startswith("the 90th percentile of latency, from the moment")


def test_the_rate_is_a_share_of_what_the_slowest_sustains(tiny, hasty):
    document = bench([tiny], lengths=[8], pairs=1, scenario=scenario_of("server"), protocol=hasty)
    (cell,) = document["cells"]
    assert cell["rate_from"] == "70 % of what the slowest contestant sustains"
    assert cell["rate_per_s"] > 0
    assert document["notes"][0].endswith("their rate: 70 % of what the slowest contestant sustains")


def test_an_overloaded_engine_is_said_and_not_compared(tiny, hasty, capsys):
    assert run(["bench", str(tiny.path), *FAST, "--scenario", "server", "--rate", "1e7"]) == 0
    printed = capsys.readouterr().out
    assert "no comparison with dense" in printed
    assert "OVERLOADED: dense serves " in printed
    assert "OVERLOADED: efficient serves " in printed
    document = json.loads((tiny.path / "bench-server.json").read_text())
    (cell,) = document["cells"]
    assert cell["speedups"]["efficient"]["ratio"] is cell["speedups"]["efficient"]["low"] is None
    assert all(engine["overloaded"] and engine["unserved"] > 0 for engine in cell["contestants"].values())


def test_each_scenario_has_a_document_of_its_own(tiny, hasty, capsys):
    for name in ("single", "offline"):
        assert run(["bench", str(tiny.path), *FAST, "--scenario", name]) == 0
    printed = capsys.readouterr().out
    assert "samples/s  ms/sample" in printed
    assert "scenario offline: the ratios compare the time per sample, in batches back to back" in printed
    bundle = Bundle.open(tiny.path)
    found = {name: json.loads((tiny.path / name).read_text()) for name in ("bench.json", "bench-offline.json")}
    assert [document["scenario"] for document in found.values()] == ["single", "offline"]
    assert found["bench.json"]["figure"] == "p50_ms"
    assert {"bench.json", "bench-offline.json"} <= bundle.manifest.files.keys()
    assert {document_name(name) for name in SCENARIOS} <= set(REPORTS)


def test_several_bundles_in_a_scenario(tmp_path, hasty, capsys):
    bundles = [str(tiny_bundle.make(tmp_path / name, name=name).path) for name in ("main", "branch")]
    options = [*FAST, "--scenario", "offline", "--out", str(tmp_path / "out"), "--json"]
    assert run(["bench", *bundles, *options]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["reference"], document["scenario"]) == ("main", "offline")
    assert list(document["cells"][0]["speedups"]) == ["branch"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["bench-offline.json", "report.html"]


def test_only_single_requests_are_in_the_history(tiny, hasty, tmp_path, monkeypatch):
    history = tmp_path / "history.sqlite"
    monkeypatch.setenv("EDGEATTN_HISTORY", str(history))
    assert run(["bench", str(tiny.path), *FAST, "--scenario", "offline", "--batch-size", "1"]) == 0
    assert not history.exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ["--rate", "5"],
            "--rate: the scenario 'single' does not take it\n  fix: leave it out, or use --scenario server",
        ),
        (["--batch-size", "2"], "--batch-size: the scenario 'single' does not take it"),
        (["--scenario", "server", "--batch-size", "2"], "--scenario offline"),
        (["--scenario", "server", "--rate", "0"], "--rate: 0 requests per second is no rate"),
        (["--scenario", "server", "--rate", "-3"], "--rate: -3 requests per second is no rate"),
        (["--scenario", "server", "--rate", "nan"], "--rate: nan requests per second is no rate"),
        (["--scenario", "server", "--rate", "inf"], "--rate: inf requests per second is no rate"),
        (["--scenario", "server", "--rate", "0.1"], "are fewer than 10 in the 0.2 s that a process is timed for"),
        (["--scenario", "ofline"], "unknown scenario 'ofline'\n  fix: did you mean 'offline'?"),
        (["--scenario", "offline", "--batch-size", "0"], "--batch-size"),
        (["--scenario", "offline", "--profile"], "--profile is of single requests"),
    ],
)
def test_options_that_do_not_fit(tiny, hasty, options, said, capsys):
    assert run(["bench", str(tiny.path), "--quick", *options]) == 2
    assert said in capsys.readouterr().err
    assert not any(path.name.startswith("bench") for path in tiny.path.iterdir())


def test_a_p99_has_its_samples_where_an_inference_is_short():
    single, full = scenario_of("single"), Protocol()
    assert single.samples(0, 15e6, full) == 662
    assert single.samples(0, 16e6, full) == 64  # they would take more than 10 s
    assert single.samples(0, 1e6, Protocol.quick()) == 24


def test_a_pair_with_too_few_samples_has_no_percentile():
    enough, few = [1_000_000] * 662, [1_000_000] * 661
    assert InCase([enough, enough]).percentiles_ms(99) == [1.0, 1.0]
    facts = InCase([enough, few], [True, True]).facts()
    assert facts["p99_ms"] is None
    assert facts["p90_ms"] == 1.0


def test_server_wants_a_p99_of_the_full_protocol_and_a_p90_of_the_quick_one():
    server = scenario_of("server")
    full, quick = server.protocol(Protocol()), server.protocol(Protocol.quick())
    assert (full.samples, full.blocks, full.block_s) == (662, 1, 4.0)
    assert (quick.samples, quick.blocks) == (64, 1)


def test_all_percentiles_that_a_p99_is_compared_by_are_there(tiny, hasty):
    protocol = replace(hasty, p99_s=0.5, measure_max_s=2.0)
    document = bench([tiny], lengths=[8], pairs=1, scenario=scenario_of("server", rate_per_s=2000.0), protocol=protocol)
    assert document["figure"] == "p99_ms"
