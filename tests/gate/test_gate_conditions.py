"""The gate on a machine whose conditions change, and on one that is not that of the baseline."""

from __future__ import annotations

import json
from types import MappingProxyType

import hot_boards
import pytest

from edgeattn.bench import session
from edgeattn.bench.conditions import Watch
from edgeattn.cli.main import run
from edgeattn.devices import fingerprint
from edgeattn.devices.conditions import Probe
from edgeattn.gate.baseline import save
from edgeattn.gate.scoring import Scored
from edgeattn.gate.session import SIDES


@pytest.fixture
def baseline(tiny, tmp_path):
    return save(tiny, tmp_path / "baseline").path


@pytest.fixture
def board(tmp_path, monkeypatch):
    """Makes pairs take no time, on an Orin that throttles in the middle of some of them."""

    def make(*disturbed):
        root = hot_boards.orin(tmp_path / "board", celsius=86.0)

        class Disturbed(Watch):
            def leg_ran(self):
                hot_boards.put(root, {hot_boards.ALERT: int(self._pairs in disturbed)})
                super().leg_ran()

            def end(self):
                why = super().end()
                hot_boards.put(root, {hot_boards.ALERT: 0})
                return why

        def time(self, places):
            for seen in self.seen.values():
                seen.runtime = {}
                for place in places:
                    self.watch.leg_starts(place)
                    seen.cases[place].steady.append(True)
                    seen.cases[place].series.append([1000 + len(seen.cases[place].series)] * 64)
                    self.watch.leg_ran()

        monkeypatch.setattr("edgeattn.gate.run.Watch", lambda: Disturbed(Probe(root), sleep=lambda seconds: None))
        monkeypatch.setattr(session.Session, "_time", time)
        monkeypatch.setattr("edgeattn.gate.run.score_both", lambda *_: Scored([], {side: {} for side in SIDES}))

    return make


def gate(tiny, baseline, *options):
    return run(["gate", str(tiny.path), "--baseline", str(baseline), "--quick", "--json", *options])


def test_a_disturbed_pair_is_replaced(tiny, baseline, board, capsys):
    board(2, 5)
    assert gate(tiny, baseline) == 0
    document = json.loads(capsys.readouterr().out)
    reason = "throttling: slowed by heat (gpu-throttle-alert); CPU at 86 C, throttles at 99 C"
    assert document["discarded"] == [reason, reason]
    assert document["conditions"]["discarded"] == [{"pair": 2, "reason": reason}, {"pair": 5, "reason": reason}]
    assert document["conditions"]["start"]["power_mode"] == "15W"
    assert document["conditions"]["invalid"] is None
    assert {row["pairs"] for row in document["rows"] if row["metric"] == "p50"} == {10}


def test_more_than_a_fifth_is_inconclusive_whatever_the_figures(tiny, baseline, board, capsys):
    board(1, 2, 3)
    assert gate(tiny, baseline) == 3
    document = json.loads(capsys.readouterr().out)
    (row,) = (row for row in document["rows"] if row["metric"] == "p50")
    assert row["verdict"] == "INCONCLUSIVE"
    assert row["why"] == document["conditions"]["invalid"]
    assert row["why"].startswith("3 of 3 pairs were discarded: throttling: slowed by heat (gpu-throttle-alert); CPU")


def test_what_decides_without_timing_still_fails(tiny, baseline, board):
    board(1, 2, 3)
    file = baseline / "baseline.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "energy": "rapl"}))
    assert gate(tiny, baseline) == 1, "its energy vanished"


@pytest.mark.parametrize(
    ("here", "said"),
    [
        ({"power_mode": "7W"}, "its power mode was 15W, here it is 7W"),
        ({"module": "p3767-0003"}, "its module was p3767-0005, here it is p3767-0003"),
        ({"gpus": ["RTX A4000"]}, "its gpus was RTX A2000, here it is RTX A4000"),
        ({"runtimes": {"onnxruntime": "9.9"}}, "9.9 is installed"),
        ({"power": {"governor": "powersave"}}, "in another power mode: governor was performance, here it is powersave"),
    ],
)
def test_a_baseline_of_another_state_of_the_machine_is_refused_with_4(
    tiny, baseline, given_pairs, monkeypatch, capsys, here, said
):
    known = {"power_mode": "15W", "module": "p3767-0005", "gpus": ["RTX A2000"], "power": {"governor": "performance"}}
    facts = MappingProxyType({**fingerprint(), **known})
    file = baseline / "baseline.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "machine": dict(facts)}))
    monkeypatch.setattr("edgeattn.gate.baseline.fingerprint", lambda: {**facts, **here})
    given_pairs()  # none is taken
    assert gate(tiny, baseline) == 4
    printed = capsys.readouterr()
    assert said in json.dumps(json.loads(printed.out), ensure_ascii=False)
    assert "PASS" not in printed.out + printed.err
