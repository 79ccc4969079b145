"""Which energy a gate needs: one of the scope that its baseline was saved with, by whatever meter."""

from __future__ import annotations

import json
from contextlib import contextmanager

import pytest
import tiny_bundle

from edgeattn.cli.main import run
from edgeattn.devices.profile import DeviceProfile
from edgeattn.gate import energy
from edgeattn.gate.baseline import open_baseline, save
from edgeattn.gate.scoring import Scored
from edgeattn.gate.session import SIDES
from edgeattn.meters import Choice
from edgeattn.meters.base import Energy, Window


class Meter:
    period_s = 0.01

    def __init__(self, name, scope):
        self.name, self.scope = name, scope

    def available(self):
        return None

    @contextmanager
    def window(self, pids=None):
        yield Window(Energy(1.0, 1.0, self.scope, "the test"))


@pytest.fixture
def saved(tiny, tmp_path):
    """Makes a baseline as if it were saved with a meter."""

    def make(name, scope):
        found = save(tiny, tmp_path / "baseline")
        file = found.path / "baseline.json"
        facts = {"energy": name, **({"energy_scope": scope} if scope else {})}
        document = json.loads(file.read_text())
        document.pop("energy_scope")
        file.write_text(json.dumps(document | facts))
        return open_baseline(found.path)

    return make


@pytest.fixture
def profile():
    return DeviceProfile.model_validate_json(json.dumps(tiny_bundle.this_machine()))


@pytest.mark.parametrize(
    ("before", "here", "said"),
    [
        ((None, None), ("rapl", "package"), None),
        (("model", "model"), None, None),
        (("ina3221", "module"), ("ina3221", "module"), None),
        (("ina3221", "module"), ("ina238", "module"), None),
        (("rapl", None), ("rapl", "package"), None),  # saved before scopes were
        (
            ("ina3221", "module"),
            ("wall", "wall"),
            "of the scope module (meter ina3221), here it is wall (meter wall): not comparable",
        ),
        (
            ("ina3221", "partial"),
            ("pi_pmic", "partial"),
            "of the scope partial (meter ina3221), here it is partial (meter pi_pmic): not comparable",
        ),
        (("rapl", None), ("wall", "wall"), "of the scope package (meter rapl), here it is wall (meter wall)"),
        (("gone", None), ("wall", "wall"), "of the scope unknown (meter gone), here it is wall (meter wall)"),
        (("rapl", "package"), ("model", "model"), "here no sensor measures it: only root may"),
        (("rapl", "package"), None, "here no sensor measures it: only root may"),
    ],
)
def test_scopes_decide_what_vanished(saved, profile, before, here, said):
    chosen = Choice(Meter(*here) if here else None, {"rapl": "only root may"})
    row = energy.vanished(saved(*before).saved, chosen, profile)
    if said is None:
        assert row is None
    else:
        assert (row.metric, row.kind, row.blocking, row.verdict) == ("energy", "vanished", True, "FAIL")
        assert said in row.why


def test_another_meter_of_the_same_scope_is_noted_and_judged(
    saved, tiny, given_pairs, same, monkeypatch, capsys, tmp_path
):
    baseline = saved("ina3221", "module")
    monkeypatch.setattr("edgeattn.gate.run.choose_with_reasons", lambda profile: Choice(Meter("ina238", "module"), {}))
    monkeypatch.setattr("edgeattn.gate.run.score_both", lambda *_: Scored([], {side: {} for side in SIDES}))
    given_pairs({**same, "energy": same["p50"]})
    out = str(tmp_path / "out")
    assert run(["gate", str(tiny.path), "--baseline", str(baseline.path), "--quick", "--out", out]) == 0
    printed = capsys.readouterr().out
    assert "energy is measured by ina238; the baseline was saved with ina3221, of the same scope" in printed
    assert "energy (module) at 16 tokens  PASS" in printed
    rows = json.loads((tmp_path / "out" / "gate.json").read_text())["rows"]
    assert [row["scope"] for row in rows if row["metric"] == "energy"] == ["module"]


def test_a_saved_baseline_knows_its_scope(tmp_path, monkeypatch):
    monkeypatch.setattr("edgeattn.gate.baseline.choose", lambda profile: Meter("ina3221", "module"))
    found = save(tiny_bundle.make(tmp_path / "tiny"), tmp_path / "baseline")
    assert (found.saved.energy, found.saved.energy_scope) == ("ina3221", "module")
