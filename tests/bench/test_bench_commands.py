"""`edgeattn verify` and `edgeattn bench`, as a user calls them."""

from __future__ import annotations

import json

import pytest
import tiny_bundle

from edgeattn.bundle import Bundle
from edgeattn.cli.main import run
from edgeattn.runtimes import RUNTIMES


def test_verify_passes_and_records(tiny, capsys):
    assert run(["verify", str(tiny.path)]) == 0
    assert "spearman" in capsys.readouterr().out
    assert json.loads((tiny.path / "verify.json").read_text())["passed"] is True
    assert "Verified" in (tiny.path / "report.html").read_text()
    Bundle.open(tiny.path)


@pytest.mark.parametrize("json_option", [[], ["--json"]])
def test_verify_of_nan_exits_with_1(tmp_path, capsys, json_option):
    bundle = tiny_bundle.make(tmp_path / "tiny", efficient=tiny_bundle.graph(poison=True))
    assert run(["verify", str(bundle.path), *json_option]) == 1
    output = capsys.readouterr()
    if json_option:
        assert json.loads(output.out)["passed"] is False
    else:
        assert "the bundle failed verification: output 'sentence_embedding' has " in output.err
    assert json.loads((bundle.path / "verify.json").read_text())["passed"] is False
    assert "VERIFICATION FAILED" in (bundle.path / "report.html").read_text()


def test_bench_prints_a_table_and_refreshes_the_report(tiny, hasty, capsys):
    assert run(["bench", str(tiny.path), "--quick", "--lengths", "8", "--pairs", "1"]) == 0
    printed, logged = capsys.readouterr()
    assert "8 tokens: " in printed
    assert "interval n/a" in printed
    assert "bench: dense and efficient in turn, takes 6.2 s to 6.8 s\n" in logged
    assert "<svg" in (tiny.path / "report.html").read_text()


def test_bench_json_is_one_document(tiny, hasty, capsys):
    assert run(["bench", str(tiny.path), "--quick", "--pairs", "1", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["cells"][0]["length"] == 16  # the bundle's own
    assert document["protocol"]["name"] == "quick"


@pytest.mark.parametrize("command", ["verify", "bench"])
def test_another_device_is_not_measured_here(tmp_path, capsys, command):
    """This machine's timings must not be labelled as another device's."""
    device = {**tiny_bundle.this_machine(), "name": "orin-nano", "probe": False}
    bundle = tiny_bundle.make(tmp_path / "tiny", target=device)
    assert run([command, str(bundle.path)]) == 4
    assert capsys.readouterr().err.endswith(
        f"error: {bundle.path / 'bundle.json'}: orin-nano is not this machine\n"
        "  fix: run this command on orin-nano; for this machine, compile with --target cpu\n"
    )
    assert {"verify.json", "bench.json", "report.html"}.isdisjoint(file.name for file in bundle.path.iterdir())


@pytest.mark.parametrize("command", ["verify", "bench"])
def test_an_older_runtime_than_the_target_allows_is_refused(tmp_path, capsys, command):
    runtime = {"name": "onnxruntime", "min_version": "99.1", "opset": [17, 21], "methods": ["fp32"]}
    bundle = tiny_bundle.make(tmp_path / "tiny", target=tiny_bundle.this_machine(runtimes=[runtime]))
    assert run([command, str(bundle.path)]) == 4
    installed = RUNTIMES["onnxruntime"].version()
    assert (
        f"error: test-device: onnxruntime {installed} is installed, 99.1 or later is needed\n  fix: install it"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize("lengths", ["8,x", "0", "8,"])
def test_bench_refuses_lengths_that_are_none(tiny, lengths, capsys):
    assert run(["bench", str(tiny.path), "--lengths", lengths]) == 2
    assert "--lengths" in capsys.readouterr().err


def test_a_tampered_bundle_is_not_run(tiny, capsys):
    with (tiny.path / "model.onnx").open("ab") as file:
        file.write(b"x")
    assert run(["verify", str(tiny.path)]) == 2
    assert "model.onnx" in capsys.readouterr().err
