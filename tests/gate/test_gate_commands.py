"""`edgeattn gate`, as a user calls it, on real bundles."""

from __future__ import annotations

import json

import pytest
import tiny_bundle

from edgeattn.bundle import Bundle
from edgeattn.cli.main import run
from edgeattn.gate.baseline import digest_of, save
from edgeattn.manifest import BenchSpec


@pytest.fixture
def baseline(tiny, tmp_path):
    return save(tiny, tmp_path / "baseline").path


def gate(bundle, baseline, *options):
    return run(["gate", str(bundle.path), "--baseline", str(baseline), "--quick", "--threads", "1", *options])


def row(document, metric, length=16):
    return next(
        each for each in document["rows"] if (each["metric"], each["length"]) in ((metric, length), (metric, None))
    )


def without(bundle, **update):
    """The bundle with another part of its manifest."""
    file = bundle.path / "bundle.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **update}))
    return Bundle.open(bundle.path)


def test_a_rebuild_passes_and_writes_what_ci_reads(tiny, baseline, tmp_path, given_pairs, same, capsys):
    given_pairs(same)
    rebuilt = tiny_bundle.make(tmp_path / "rebuilt")
    assert gate(rebuilt, baseline, "--out", str(tmp_path / "out")) == 0
    assert "PASS: no blocking metric is worse" in capsys.readouterr().out
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["gate.json", "gate.md", "junit.xml"]
    document = json.loads((tmp_path / "out" / "gate.json").read_text())
    assert (document["schema"], document["verdict"], document["exit_code"]) == (1, "PASS", 0)
    assert row(document, "p50")["pairs"] == 10
    assert len(row(document, "p50")["runs"][0]["ratios"]) == 10
    found = {each["metric"] for each in document["rows"]}
    assert found >= {"spearman", "disk", "nodes", "nodes_elsewhere", "p50", "memory"}
    assert document["baseline"]["saved"]["digest"] == digest_of(tiny)
    assert document["reproduce"].startswith(f"edgeattn gate {rebuilt.path} --baseline {baseline} --threads 1 --quick")
    assert "both bundles have the same digest: the candidate is compared with itself" in document["notes"]


def test_a_slowdown_that_repeats_fails(tiny, baseline, given_pairs, slower, capsys):
    given_pairs(slower, slower)
    assert gate(tiny, baseline, "--json") == 1
    document = json.loads(capsys.readouterr().out)
    found = row(document, "p50")
    assert (document["verdict"], found["verdict"], found["pairs"], len(found["runs"])) == ("FAIL", "FAIL", 20, 2)
    assert found["why"].startswith("10.5% more in two runs, at least 8.3%")


def test_a_slowdown_that_does_not_repeat_is_inconclusive(tiny, baseline, given_pairs, slower, same, capsys):
    given_pairs(slower, same)
    assert gate(tiny, baseline) == 3
    printed = capsys.readouterr().out
    assert "the failure of the first run did not repeat in the second" in printed
    assert "INCONCLUSIVE: the measurements cannot tell whether the candidate is worse: p50 at 16 tokens\n" in printed
    assert "the largest source of noise: " in printed


def test_latency_can_be_advisory(tiny, baseline, given_pairs, slower, capsys):
    given_pairs(slower)
    assert gate(tiny, baseline, "--advisory", "p50") == 0
    assert "p50 at 16 tokens (advisory): 10.5% more in one run" in capsys.readouterr().out
    assert gate(tiny, baseline, "--advisory", "p5") == 2
    assert "'p5' is not a metric of this gate\n  fix: did you mean 'p50'?" in capsys.readouterr().err


def test_real_extra_work_is_caught_by_real_processes(tiny, baseline, hasty, capsys):
    """The candidate works four times as long; nothing is edited."""
    assert gate(tiny, baseline, "--extra-work", "300", "--json") == 1
    document = json.loads(capsys.readouterr().out)
    found = row(document, "p50")
    assert found["verdict"] == "FAIL"
    assert found["candidate"] > found["baseline"] > 0
    assert document["injected"] == 3.0
    assert "300% extra work was done in each inference of the candidate, to test the gate" in document["notes"]
    assert row(document, "memory")["candidate"] > 0


def test_more_memory_than_allowed_fails(tiny, baseline, given_pairs, same, capsys):
    given_pairs(same, peaks=(10e6, 10e6))
    assert gate(tiny, baseline, "--memory-limit", "5") == 1
    assert "10.0 MB, at most 5.0 MB are allowed: --memory-limit" in capsys.readouterr().out


def test_wrong_outputs_fail_before_anything_is_timed(tmp_path, baseline, given_pairs, capsys):
    given_pairs()
    for number, graph in enumerate((tiny_bundle.constant(), tiny_bundle.graph(poison=True))):
        assert gate(tiny_bundle.make(tmp_path / str(number), efficient=graph), baseline) == 1
        assert "outputs: output 'sentence_embedding' " in capsys.readouterr().out


def test_a_baseline_that_is_wrong_here_is_no_baseline(tmp_path, tiny, given_pairs, capsys):
    given_pairs()
    broken = tiny_bundle.make(tmp_path / "broken", efficient=tiny_bundle.graph(poison=True))
    assert gate(tiny, broken.path) == 4
    assert "the baseline does not run here: output 'sentence_embedding' has " in capsys.readouterr().err


def test_metrics_and_lengths_that_vanished_fail_and_new_ones_are_recorded(tmp_path, tiny, given_pairs, same, capsys):
    given_pairs(same, same)
    more = tiny_bundle.make(tmp_path / "more")
    bench = BenchSpec(lengths=(16, 32), batch_size=1, pairs=3).model_dump(mode="json")
    more = without(more, bench=bench)
    fewer = {**tiny.manifest.task.model_dump(mode="json"), "metrics": ["spearman"]}
    assert gate(without(tiny, task=fewer), more.path, "--json") == 1
    document = json.loads(capsys.readouterr().out)
    gone = {
        (each["metric"], each["length"]): each["verdict"] for each in document["rows"] if each["kind"] == "vanished"
    }
    assert gone == {("p50", 32): "FAIL", ("teacher_cosine", None): "FAIL"}
    assert gate(more, tiny.path, "--json") == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    new = {(each["metric"], each["length"]): each["verdict"] for each in rows if each["kind"] == "new"}
    assert new == {("p50", 32): None, ("teacher_cosine", None): None}


def test_a_sensor_that_vanished_fails(tiny, baseline, given_pairs, same, capsys):
    file = baseline / "baseline.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "energy": "rapl"}))
    given_pairs(same)
    assert gate(tiny, baseline) == 1
    said = "energy: the baseline was saved with energy of the scope package (meter rapl); here no sensor measures it\n"
    assert said in capsys.readouterr().out


def test_another_device_is_refused_with_4(tmp_path, tiny, baseline, capsys):
    there = tiny_bundle.make(tmp_path / "there", target=tiny_bundle.this_machine(name="another-board"))
    assert gate(there, baseline) == 4
    assert "the baseline is for test-device, the candidate for another-board" in capsys.readouterr().err
    elsewhere = tiny_bundle.this_machine(name="test-device", probe=False, cpu={"model": "Cortex-A78AE"})
    assert gate(tiny, tiny_bundle.make(tmp_path / "orin", target=elsewhere).path) == 4
    assert "test-device is not this machine: its processor is " in capsys.readouterr().err


def test_engines_that_were_tuned_elsewhere_are_refused_with_4(tmp_path, tiny, hasty, capsys):
    other = tiny_bundle.make(tmp_path / "other")
    engine = other.path / "engine" / "efficient" / "engine.json"
    engine.write_text(json.dumps({**json.loads(engine.read_text()), "version": "1.2.3"}))
    tiny_bundle.sign(other.path)
    assert gate(tiny, other.path) == 4
    assert "the baseline's engine was tuned on another processor, or with another version" in capsys.readouterr().err


def test_bad_input_is_refused_with_2(tmp_path, tiny, baseline, small_bundle, capsys):
    assert run(["gate", str(tiny.path)]) == 2
    assert "there is nothing to compare with\n  fix: name a baseline" in capsys.readouterr().err
    assert gate(tiny, baseline, "--ignore", "5") == 2
    assert "ignore 5.0% is not less than catch 5.0%" in capsys.readouterr().err
    assert gate(tiny, tmp_path / "nothing") == 2
    assert gate(tiny, baseline, "--baseline-digest", "sha256:" + "0" * 64) == 2
    assert gate(tiny, small_bundle) in (2, 4)
    capsys.readouterr()
    with (tiny.path / "model.onnx").open("ab") as file:
        file.write(b"x")
    assert gate(tiny, baseline) == 2
    assert "model.onnx: has " in capsys.readouterr().err
