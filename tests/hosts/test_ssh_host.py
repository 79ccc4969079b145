"""Jobs on a device over SSH: what a user sees when all is well, and the job's own errors."""

from __future__ import annotations

import json

import pytest
import tiny_bundle
from ssh_device import fake

from edgeattn.bundle import Bundle
from edgeattn.cli.main import run
from edgeattn.hosts import open_host
from edgeattn.hosts.local import LocalHost


def without_moment(document):
    """Without what changes from run to run: the time, the load, free memory."""
    return {key: value for key, value in document.items() if key not in ("created_utc", "machine")}


def test_verify_there_is_verify_here(device, tiny, capsys):
    assert run(["verify", str(tiny.path), "--json"]) == 0
    here = json.loads(capsys.readouterr().out)
    assert run(["verify", str(tiny.path), "--host", "board", "--json"]) == 0
    there = json.loads(capsys.readouterr().out)
    assert without_moment(there) == without_moment(here)
    assert json.loads((tiny.path / "verify.json").read_text()) == there
    assert "Verified" in (tiny.path / "report.html").read_text()
    Bundle.open(tiny.path)


def test_bench_there_is_recorded_here(device, tiny, capsys):
    options = ["--quick", "--lengths", "8", "--pairs", "1", "--threads", "1", "--host", device.address]
    assert run(["bench", str(tiny.path), *options]) == 0
    printed, logged = capsys.readouterr()
    assert "8 tokens: " in printed
    assert "board: bench: dense and efficient in turn, takes " in logged
    document = json.loads((tiny.path / "bench.json").read_text())
    assert (document["threads"], document["pairs"], document["cells"][0]["length"]) == (1, 1, 8)
    assert "Not measured" not in (tiny.path / "report.html").read_text()


def test_a_bundle_is_built_verified_and_timed_there(device, tmp_path, capsys):
    bundle = tiny_bundle.make(tmp_path / "unbuilt", candidates={"fp32": tiny_bundle.graph()})
    assert run(["build", str(bundle.path), "--host", "board"]) == 0
    assert "board: build: 2 candidates, timed in each runtime" in capsys.readouterr().err
    built = Bundle.open(bundle.path)
    assert set(built.manifest.engines) == {"efficient", "dense"}
    assert {"build.json", "report.html"} <= set(built.manifest.files)
    assert list(device.there.glob("store/*")), "its engines are kept there, and removed with the host"
    assert run(["verify", str(bundle.path), "--host", "board"]) == 0


def test_only_what_differs_is_sent(device, tiny, capsys):
    assert run(["verify", str(tiny.path), "--host", "board"]) == 0
    files = len(tiny.manifest.files) + 1
    assert f"board: sending {files} files, " in capsys.readouterr().err
    assert run(["verify", str(tiny.path), "--host", "board"]) == 0
    assert "sending" not in capsys.readouterr().err, "both sides wrote the same evidence"
    (tiny.path / "extra.txt").write_text("not listed in bundle.json, so not sent")
    tiny_bundle.sign(tiny.path)  # writes bundle.json in another way
    assert run(["verify", str(tiny.path), "--host", "board"]) == 0
    assert "board: sending 1 files, " in capsys.readouterr().err
    assert not list(device.there.glob("work/*/bundle/extra.txt"))


def test_a_failed_verification_exits_with_1_and_is_recorded(device, tmp_path, capsys):
    bundle = tiny_bundle.make(tmp_path / "bad", efficient=tiny_bundle.graph(poison=True))
    assert run(["verify", str(bundle.path), "--host", "board"]) == 1
    assert "the bundle failed verification: output 'sentence_embedding' has " in capsys.readouterr().err
    assert "VERIFICATION FAILED" in (bundle.path / "report.html").read_text()


@pytest.mark.parametrize("json_option", [[], ["--json"]])
def test_the_errors_of_the_job_come_back_with_the_host_as_their_place(device, tmp_path, capsys, json_option):
    target = tiny_bundle.this_machine(name="orin-nano", probe=False, cpu={"model": "Cortex-A78AE", "cores": 6})
    bundle = tiny_bundle.make(tmp_path / "tiny", target=target)
    assert run(["verify", str(bundle.path), "--host", "board", *json_option]) == 4
    output = capsys.readouterr()
    where, fact = f"on board: {bundle.path}/bundle.json", "orin-nano is not this machine: its processor is "
    fix = "run this command on orin-nano; for this machine, compile with --target cpu"
    if json_option:
        error = json.loads(output.out)["error"]
        assert error.pop("fact").startswith(fact)
        assert error == {"where": where, "fix": fix, "exit_code": 4}
    else:
        assert f"error: {where}: {fact}" in output.err
        assert output.err.endswith(f" here, Cortex-A78AE there\n  fix: {fix}\n")
    assert not device.state("job.json"), "nothing is left of the job"


def test_a_job_that_dies_there_says_its_exit_code(device, tiny, capsys):
    fake(device, "echo 'the last words' >&2; exit 7")
    assert run(["verify", str(tiny.path), "--host", "board"]) == 5
    logged = capsys.readouterr().err
    assert "board: the last words\n" in logged
    assert "error: on board: edgeattn verify ended there with exit code 7 and no document\n" in logged


def test_probe_is_the_device_s_own_facts(device, capsys):
    assert open_host("board").probe().profile == LocalHost().probe().profile
    capsys.readouterr()
    assert run(["hosts", "probe", "board"]) == 0
    assert "runtimes      onnxruntime " in capsys.readouterr().out


def test_several_hosts_give_one_table(device, tiny, capsys):
    assert run(["verify", str(tiny.path), "--host", "board", "--host", "local"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].split() == ["host", "metric", "shipped", "teacher", "floor"]
    assert [line.split()[:2] for line in printed[1:]] == [
        ["board", "spearman"], ["board", "teacher_cosine"], ["local", "spearman"], ["local", "teacher_cosine"],
        ["board:", "passed"], ["local:", "passed"],
    ]  # fmt: skip
    assert not (tiny.path / "verify.json").exists(), "one bundle cannot hold the evidence of several hosts"


def test_several_hosts_exit_with_the_worst_code(device, tiny, capsys):
    fake(device, "exit 7")
    assert run(["verify", str(tiny.path), "--host", "local", "--host", "board", "--json"]) == 5
    local, board = json.loads(capsys.readouterr().out)
    assert (local["host"], local["document"]["passed"]) == ("local", True)
    assert (board["host"], board["error"]["where"], board["error"]["exit_code"]) == ("board", "on board", 5)


def test_a_host_is_named_once(device, tiny, capsys):
    assert run(["verify", str(tiny.path), "--host", "board", "--host", device.address]) == 2
    assert "error: --host names board twice\n" in capsys.readouterr().err
