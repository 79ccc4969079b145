"""`edgeattn gate --host`: both bundles are compared on the device, and its verdict comes back."""

from __future__ import annotations

import json

import pytest
import tiny_bundle
from ssh_device import fake

from edgeattn.cli.main import run

UNDECIDED = {"metric": "p50", "kind": "paired", "blocking": True, "verdict": "INCONCLUSIVE", "why": "undecided"}


@pytest.fixture
def baseline(device, tiny, tmp_path):
    assert run(["baseline", "save", str(tiny.path), str(tmp_path / "baseline"), "--host", "board"]) == 0
    return tmp_path / "baseline"


def test_the_verdict_of_the_device_is_written_here(device, baseline, tmp_path, capsys):
    """Its outputs are wrong, so nothing is timed there."""
    broken = tiny_bundle.make(tmp_path / "new", efficient=tiny_bundle.graph(poison=True))
    out = tmp_path / "out"
    given = ["gate", str(broken.path), "--baseline", str(baseline), "--host", "board", "--out", str(out)]
    assert run(given) == 1
    printed, logged = capsys.readouterr()
    assert "outputs: output 'sentence_embedding' has " in printed
    assert "board: gate: accuracy of both bundles" in logged
    document = json.loads((out / "gate.json").read_text())
    assert document["verdict"] == "FAIL"
    assert document["reproduce"] == f"edgeattn gate {broken.path} --baseline {baseline} --host board"
    assert document["baseline"]["saved"]["machine"]["cpu_model"] == document["machine"]["cpu_model"]
    assert not device.state("job.json"), "nothing is left of the job"

    # The same answer, as it would be if the noise were too large: its document comes with the exit code 3.
    document.update(rows=[UNDECIDED], verdict="INCONCLUSIVE", exit_code=3)
    answer = device.home / "answer.json"
    answer.write_text(json.dumps(document))
    fake(device, f"cat {answer}; exit 3")
    assert run(given) == 3
    assert "INCONCLUSIVE: the measurements cannot tell" in capsys.readouterr().out
    answer.write_text(json.dumps({**document, "verdict": "PASS", "exit_code": 0}))
    fake(device, f"cat {answer}; exit 0")
    assert run(given) == 4
    assert "board: the answer is not the document of a gate" in capsys.readouterr().err
