"""`edgeattn verify` and `edgeattn bench`, as a user calls them."""

from __future__ import annotations

import json
import os

import pytest
import tiny_bundle

from edgeattn.bench.accuracy import check
from edgeattn.bench.bundles import bench
from edgeattn.bundle import Bundle
from edgeattn.cli.main import run
from edgeattn.errors import BundleError
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
    assert "no interval from one pair" in printed
    assert "bench: dense and efficient in turn, takes 2.0 s to 2.6 s\n" in logged
    assert "median time of one inference" in (tiny.path / "report.html").read_text()
    recorded = json.loads((tiny.path / "bench.json").read_text())
    assert recorded["contestants"]["dense"]["bundle"] == Bundle.open(tiny.path).manifest.digest


def test_bench_json_is_one_document(tiny, hasty, capsys):
    assert run(["bench", str(tiny.path), "--quick", "--pairs", "1", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["cells"][0]["length"] == 16  # the bundle's own
    assert document["protocol"]["name"] == "quick"


@pytest.mark.parametrize("command", ["verify", "bench"])
def test_another_device_is_not_measured_here(tmp_path, capsys, command):
    """This machine's timings must not be labelled as another device's."""
    device = tiny_bundle.this_machine(name="orin-nano", probe=False, cpu={"model": "Cortex-A78AE", "cores": 6})
    bundle = tiny_bundle.make(tmp_path / "tiny", target=device)
    assert run([command, str(bundle.path)]) == 4
    err = capsys.readouterr().err
    assert f"error: {bundle.path / 'bundle.json'}: orin-nano is not this machine: its processor is " in err
    assert err.endswith(
        " here, Cortex-A78AE there\n  fix: run this command on orin-nano; for this machine, compile with --target cpu\n"
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


def test_a_bundle_that_cannot_be_written_is_timed_with_out_only(tiny, hasty, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("os.access", lambda _, mode: mode != os.W_OK)  # root may write anywhere
    before = sorted(tiny.path.rglob("*"))
    options = ["--quick", "--lengths", "8", "--pairs", "1"]
    assert run(["bench", str(tiny.path), *options]) == 5
    assert "the folder is read-only\n  fix: give another folder with --out" in capsys.readouterr().err
    out = tmp_path / "results" / "tiny"
    assert run(["bench", str(tiny.path), *options, "--out", str(out)]) == 0
    assert sorted(tiny.path.rglob("*")) == before
    assert sorted(path.name for path in out.iterdir()) == ["bench.json", "report.html"]
    document = json.loads((out / "bench.json").read_text())
    assert document["contestants"]["efficient"]["bundle"] == tiny.manifest.digest
    assert tiny.manifest.digest in (out / "report.html").read_text()


def test_several_bundles_are_timed_beside_the_first(tmp_path, hasty, capsys):
    for name in ("main", "branch"):
        tiny_bundle.make(tmp_path / name, name=name)
    bundles = [str(tmp_path / name) for name in ("main", "branch")]
    options = ["--quick", "--lengths", "8", "--pairs", "2", "--out", str(tmp_path / "out")]
    assert run(["bench", *bundles, *options, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["reference"] == "main"
    assert list(document["cells"][0]["speedups"]) == ["branch"]
    digests = [facts["bundle"] for facts in document["contestants"].values()]
    assert digests == [Bundle.open(tmp_path / name).manifest.digest for name in ("main", "branch")]
    assert json.loads((tmp_path / "out" / "bench.json").read_text()) == document
    assert "branch beside main" in (tmp_path / "out" / "report.html").read_text()
    assert not any((tmp_path / name / "bench.json").exists() for name in ("main", "branch"))


def test_bundles_of_one_name_are_told_apart_by_their_folders(tmp_path, hasty, capsys):
    bundles = [str(tiny_bundle.make(tmp_path / name / "bundle").path) for name in ("a", "b")]
    assert run(["bench", *bundles, "--quick", "--lengths", "8", "--pairs", "1", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["contestants"]) == ["a/bundle", "b/bundle"]
    assert run(["bench", bundles[0], bundles[0]]) == 2
    assert "is named twice" in capsys.readouterr().err


def test_bundles_with_other_inputs_cannot_be_compared(tmp_path, tiny, small_bundle, capsys):
    assert run(["bench", str(tiny.path), str(small_bundle)]) == 2
    assert (
        f"{small_bundle}: input 'attention_mask' is missing here and int64 ['batch', 'sequence'] in {tiny.path}: "
        "their timings cannot be compared" in capsys.readouterr().err
    )


def test_results_never_go_into_another_bundle(tmp_path, tiny, capsys):
    other = tiny_bundle.make(tmp_path / "other")
    assert run(["bench", str(tiny.path), "--out", str(other.path)]) == 2
    assert f"--out: {other.path} is a bundle" in capsys.readouterr().err


@pytest.mark.parametrize("use", [check, lambda bundle: bench([bundle])])
def test_a_bundle_that_is_not_built_yet(tiny, use):
    tiny.manifest = tiny.manifest.model_copy(update={"engines": {}})
    with pytest.raises(
        BundleError, match=rf"is not built yet: .*\n  fix: run `edgeattn build {tiny.path}` on the device"
    ):
        use(tiny)
