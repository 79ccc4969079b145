"""`edgeattn crossover --host`: graphs are exported here and timed on the device, which has no torch in use."""

from __future__ import annotations

import json
from functools import partial

import pytest
from ssh_device import fake

from edgeattn.cli.main import run
from edgeattn.crossover import export

SMALL = [
    *("crossover", "--heads", "2", "--head-dim", "8", "--lengths", "8", "--threads", "1"),
    *("--variants", "identity"),
]


@pytest.fixture(autouse=True)
def _hasty(monkeypatch):
    monkeypatch.setattr(export, "Effort", partial(export.Effort, rounds=2, block_s=0.003, warm_s=0.003))


def test_the_device_measures_what_was_exported_here(device, tmp_path, capsys):
    # No variable reaches the job: its own process must not import torch.
    fake(device, 'exec "$(dirname "$0")/python" -X importtime "$REAL" "$@" 2> >(tee "$HOME/imports" >&2)')
    assert run([*SMALL, "--host", "board", "--json", "--out", str(tmp_path / "out")]) == 0
    printed, logged = capsys.readouterr()
    document = json.loads(printed)
    assert document["notes"] == []
    assert [(cell["length"], cell["projections"]) for cell in document["cells"]] == [(8, False), (8, True)]
    assert document["cells"][0]["variants"]["identity"]["speedup"]["ratio"] > 0
    assert json.loads((tmp_path / "out/crossover.json").read_text()) == document
    assert (tmp_path / "out/crossover.png").exists()
    assert "board: sending 10 files, " in logged
    assert "board: measure: 2 rounds, 1 threads" in logged
    assert not device.state("job.json"), "nothing is left of the job"
    imported = {line.rpartition("|")[2].strip() for line in (device.home / "imports").read_text().splitlines()}
    assert "edgeattn.measure.run" in imported
    assert not imported & {"torch", "onnx", "onnx_ir", "edgeattn.crossover", "edgeattn.attention"}


@pytest.mark.slow
def test_what_did_not_change_is_not_sent_again(device, capsys):
    assert run([*SMALL, "--host", "board"]) == 0
    assert "board: sending 10 files, " in capsys.readouterr().err
    assert run([*SMALL, "--host", "board"]) == 0
    assert "sending" not in capsys.readouterr().err


def test_several_hosts_give_one_table(device, capsys):
    assert run([*SMALL, "--host", "board", "--host", "local"]) == 0
    lines = capsys.readouterr().out.splitlines()
    head = next(number for number, line in enumerate(lines) if line.startswith("host "))
    assert [line.split()[:2] for line in lines[head : head + 5]] == [
        ["host", "attention"], ["board", "dense,"], ["board", "identity"], ["local", "dense,"], ["local", "identity"],
    ]  # fmt: skip
    assert sum(line.startswith(("board: ", "local: ")) and "1 threads" in line for line in lines) == 2


def test_a_graph_that_was_changed_there_is_refused_by_the_device(device, capsys):
    """Such as by a disk that is failing: native code does not see it."""
    fake(device, 'printf x >> "$2/identity-plain-any-core/model.onnx"; exec "$REAL" "$@"')
    assert run([*SMALL, "--host", "board"]) == 2
    assert "identity-plain-any-core/model.onnx: has " in capsys.readouterr().err


def test_a_device_without_a_runtime_is_refused_before_anything_is_exported(device, monkeypatch, capsys):
    facts = """{"edgeattn": "1", "python": "3.10", "architecture": "aarch64", "fingerprint": {}, "runtimes": {},
    "profile": {"name": "cpu", "description": "x", "probe": true, "runtimes":
    [{"name": "onnxruntime", "min_version": "1.20", "opset": [17, 20], "methods": ["fp32"]}]},
    "free_bytes": null, "boot_id": null}"""
    fake(device, f"cat <<'END'\n{facts}\nEND")
    assert run([*SMALL, "--host", "board"]) == 4
    error = capsys.readouterr().err
    assert "error: no runtime for cpu: onnxruntime is not installed; openvino is not installed" in error
    assert "export:" not in error
