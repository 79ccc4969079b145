"""Sessions on a machine whose conditions change: pairs are taken again, legs wait, and too much of it is said."""

from __future__ import annotations

import json

import hot_boards
import pytest

from edgeattn.bench import session
from edgeattn.bench.bundles import bench
from edgeattn.bench.conditions import Watch, invalid_because
from edgeattn.cli.main import run
from edgeattn.devices.conditions import Probe


@pytest.fixture
def board(tmp_path, monkeypatch):
    """Makes sessions run on an Orin whose over-current counter moves in the middle of some of its pairs."""

    def make(*disturbed):
        root = hot_boards.orin(tmp_path / "board")

        class Disturbed(Watch):
            def leg_ran(self):
                super().leg_ran()
                if self._pairs in disturbed:
                    hot_boards.put(root, {hot_boards.OC3: 37 + self._pairs})

        monkeypatch.setattr(session, "Watch", lambda: Disturbed(Probe(root), sleep=lambda seconds: None))
        return root

    return make


@pytest.fixture
def untimed(monkeypatch):
    """Pairs take no time."""

    def time(self, places):
        for name, seen in self.seen.items():
            seen.cold_ns.append(10**6)
            for place in places:
                self.watch.leg_starts(place)
                seen.cases[place].steady.append(True)
                seen.cases[place].series.append([2000 if name == "dense" else 1000] * 64)
                self.watch.leg_ran()

    monkeypatch.setattr(session.Session, "_time", time)


def test_a_disturbed_pair_is_taken_again_as_a_whole(tiny, board, untimed, caplog):
    board(1)
    document = bench([tiny], pairs=4, threads=1)
    conditions = document["conditions"]
    assert conditions["start"]["temperatures_c"]["gpu-thermal"] == 45.0
    assert conditions["start"]["power_mode"] == conditions["end"]["power_mode"] == "15W"
    assert conditions["discarded"] == [{"pair": 1, "reason": "over-current: peak over-current (OC3), 1 x"}]
    assert conditions["invalid"] is None
    assert "pair 1 is discarded: over-current: peak over-current (OC3), 1 x" in caplog.text
    (cell,) = document["cells"]
    for engine in cell["contestants"].values():
        assert len(engine["p50_ms_by_pair"]) == 4
    assert document["pairs"] == cell["speedups"]["efficient"]["pairs"] == 4


@pytest.mark.parametrize(("disturbed", "kept"), [((2, 4), 2), ((1, 2), 0)])
def test_more_than_a_fifth_makes_the_session_invalid(tiny, board, untimed, disturbed, kept):
    board(*disturbed)
    document = bench([tiny], pairs=6, threads=1)
    assert document["conditions"]["invalid"].startswith(f"2 of {2 + kept} pairs were discarded: over-current: ")
    assert len(document["cells"][0]["contestants"]["dense"]["p50_ms_by_pair"]) == max(kept, 1)


def test_an_invalid_session_exits_with_4_and_is_written_nevertheless(tiny, hasty, board, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEATTN_HISTORY", str(tmp_path / "history.sqlite"))
    board(1)
    assert run(["bench", str(tiny.path), "--quick", "--pairs", "2", "--threads", "1"]) == 4
    printed = capsys.readouterr()
    why = "1 of 1 pairs were discarded: over-current: peak over-current (OC3), 1 x"
    assert f"INVALID: {why}. These figures mean nothing" in printed.out
    assert f"the session is invalid: {why}" in printed.err
    assert "the bench is not in the history" in printed.err
    assert not (tmp_path / "history.sqlite").exists()
    document = json.loads((tiny.path / "bench.json").read_text())
    assert document["conditions"]["invalid"] == why
    assert document["pairs"] == len(document["cells"][0]["contestants"]["dense"]["p50_ms_by_pair"]) == 1
    assert (tiny.path / "report.html").exists()


@pytest.mark.parametrize("conditions", [None, "\x1b[31m", [], {}, {"invalid": None}])
def test_what_another_machine_says_of_its_conditions_is_not_trusted(conditions):
    assert invalid_because({"conditions": conditions}) is None
    assert invalid_because({"conditions": {"invalid": 3}}) == "3"


class Cooling(Watch):
    """The watch of a board that cools by some degrees in each second that is waited."""

    def __init__(self, root, by):
        self.root, self.by, self.waited = root, by, 0
        super().__init__(Probe(root), sleep=self.cool)

    def cool(self, seconds):
        self.waited += 1
        celsius = int((self.root / hot_boards.GPU).read_text()) / 1000
        self.heat(max(40.0, celsius - self.by))

    def heat(self, celsius):
        hot_boards.put(self.root, {hot_boards.GPU: round(celsius * 1000)})


def test_the_second_leg_starts_as_cool_as_the_first(tmp_path, caplog):
    caplog.set_level("INFO")
    watch = Cooling(hot_boards.orin(tmp_path, celsius=40.0), by=1.0)
    watch.begin()
    watch.leg_starts(0)
    assert watch.waited == 1, "one look whether it still cools"
    watch.heat(50.0)  # by the first leg
    watch.leg_starts(0)
    assert watch.waited == 1 + 8
    assert (
        "waiting for the board to cool: the legs start too far apart: GPU at 47 C, at 40 C for the first" in caplog.text
    )
    watch.leg_ran()
    assert watch.end() is None


def test_a_board_near_its_throttle_point_cools_first(tmp_path):
    watch = Cooling(hot_boards.orin(tmp_path), by=4.0)
    watch.heat(97.0)
    watch.begin()
    watch.leg_starts(0)
    assert int((tmp_path / hot_boards.GPU).read_text()) == 40000, "10 degrees below, and at rest"
    assert watch.end() is None


def test_a_board_that_does_not_cool_gives_its_pair_up(tmp_path):
    watch = Cooling(hot_boards.orin(tmp_path), by=0.0)
    watch.heat(91.0)
    watch.begin()
    watch.leg_starts(0)
    assert watch.waited == 121
    watch.leg_starts(0)
    assert watch.waited == 121, "the pair is lost already"
    assert watch.end() == "after 120 s of cooling, GPU at 91 C, throttles at 99 C"


def test_a_second_leg_that_starts_colder_is_said(tmp_path):
    watch = Cooling(hot_boards.orin(tmp_path, celsius=60.0), by=0.0)
    watch.begin()
    watch.leg_starts(0)
    watch.heat(55.0)
    watch.leg_starts(0)
    assert watch.end() == "the legs start too far apart: GPU at 55 C, at 60 C for the first"


def test_a_pc_does_not_wait(tmp_path):
    def refuse(seconds):
        raise AssertionError("it waits")

    watch = Watch(Probe(hot_boards.x86(tmp_path)), sleep=refuse)
    watch.begin()
    watch.leg_starts(0)
    assert watch.end() is None


def test_what_slowed_a_leg_is_seen_even_if_it_has_ended(tmp_path):
    root = hot_boards.raspberry_pi(tmp_path)
    watch = Watch(Probe(root))
    watch.begin()
    hot_boards.put(root, {hot_boards.FIRMWARE: "4"})
    watch.leg_ran()
    hot_boards.put(root, {hot_boards.FIRMWARE: "0"})
    assert watch.end() == "throttling: the CPU throttled"
