"""Calibration: from measured pairs to rates, and the file that a gate quotes."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from edgeattn.cli.main import run
from edgeattn.errors import BundleError
from edgeattn.gate import calibration
from edgeattn.gate.calibration import drawn, find, honoured, pool
from edgeattn.gate.rule import Rule

QUIET, NOISY = (list(np.random.default_rng(0).normal(0, spread, size=40)) for spread in (0.01, 0.15))


def test_a_quiet_machine_raises_no_alarm_and_catches():
    values = pool(QUIET, symmetric=True)
    assert drawn(values, Rule(), 100) == {"PASS": 100, "FAIL": 0, "INCONCLUSIVE": 0}
    assert drawn(values + math.log1p(0.05), Rule(), 100)["FAIL"] >= 95


def test_the_catch_that_a_machine_can_honour_grows_with_its_noise(monkeypatch):
    monkeypatch.setattr(calibration, "_GATES_PER_CATCH", 60)
    assert honoured(pool(QUIET, symmetric=True), 0.01) in (0.02, 0.03)
    assert (honoured(pool(NOISY, symmetric=True), 0.01) or 1) > 0.1


@pytest.fixture
def brief(monkeypatch):
    """Few drawn gates, one injected slowdown, two pairs."""
    for name, value in (("GATES", 20), ("_GATES_PER_CATCH", 20), ("SHARES", (3.0,))):
        monkeypatch.setattr(calibration, name, value)
    original = calibration.calibrate
    monkeypatch.setattr(calibration, "calibrate", lambda *given, **options: original(*given, pairs=2, **options))


def test_it_measures_writes_and_is_quoted(tiny, hasty, brief, given_pairs, same, tmp_path, capsys):
    assert run(["gate", str(tiny.path), "--calibrate", "--quick", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["pairs"], document["length"], document["protocol"]) == (2, 16, "quick")
    (injected,) = document["injected"]
    assert injected["share"] == 3.0
    assert injected["measured"] > 0.5, "real work, three times the engine's own"
    assert json.loads(calibration.file_of(True).read_text()) == document
    assert find(True)["spread"] == document["spread"]
    assert find(False) is None
    given_pairs(same)
    run(["gate", str(tiny.path), "--baseline", str(tiny.path), "--quick"])
    assert f"calibrated {document['created_utc'][:10]} (quick): " in capsys.readouterr().out


def test_a_damaged_file_is_refused(tiny):
    file = calibration.file_of(True)
    file.parent.mkdir(parents=True)
    file.write_text("{}")
    with pytest.raises(BundleError, match="remove it, or calibrate again"):
        find(True)
