"""`edgeattn bench` records, `edgeattn history` shows."""

from __future__ import annotations

import json
import sqlite3
import sys
from contextlib import closing
from xml.etree import ElementTree as Xml

import pytest
import tiny_bundle
from history_rows import row

from edgeattn.bench.protocol import Protocol
from edgeattn.cli.main import run
from edgeattn.history import changes
from edgeattn.history.changes import Change
from edgeattn.history.file import append, read
from edgeattn.history.keep import keep
from edgeattn.jobs import Bench


@pytest.fixture
def tiny(tmp_path):
    return tiny_bundle.make(tmp_path / "tiny")


@pytest.fixture
def quick_bench(monkeypatch):
    """Options of a bench that takes a second."""
    protocol = Protocol(
        name="quick", window_s=0.005, agree=0.5, warm_min_s=0.01, warm_max_s=0.1, blocks=1, block_s=0.005, samples=64,
        measure_max_s=0.2, p99_s=0.0, energy_s=0.0, feeds=4,
    )  # fmt: skip
    monkeypatch.setattr(Protocol, "quick", classmethod(lambda cls: protocol))
    return ["--quick", "--lengths", "8", "--pairs", "1"]


@pytest.fixture
def one_change(monkeypatch):
    """A library of change points that finds one, at the eleventh measurement."""
    monkeypatch.setattr(changes, "available", lambda: True)
    monkeypatch.setattr(changes, "changes", lambda values: [Change(10, 10.1, 12.1, 1e-9)] if len(values) > 10 else [])


@pytest.fixture
def without_otava(monkeypatch):
    monkeypatch.setitem(sys.modules, "otava", None)


def test_a_bench_is_recorded_and_listed(tiny, history, quick_bench, without_otava, capsys):
    assert run(["bench", str(tiny.path), *quick_bench]) == 0
    dense, efficient = sorted(read(history), key=lambda each: each.engine)
    measured = json.loads((tiny.path / "bench.json").read_text())
    cell = measured["cells"][0]["contestants"]
    assert (efficient.p50_ms, dense.p50_ms) == (cell["efficient"]["p50_ms"], cell["dense"]["p50_ms"])
    assert (efficient.bundle, efficient.name, efficient.device) == (tiny.manifest.digest, "tiny", "test-device")
    assert (efficient.runtime, efficient.method, efficient.length, efficient.unit) == (
        *("onnxruntime", "fp32"),
        *(8, "tokens"),
    )
    assert efficient.peak_memory_mb == cell["efficient"]["peak_memory_mb"]
    capsys.readouterr()
    assert run(["history"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("bundle  engine     length    device")
    assert "change points are not searched: Apache Otava is not installed; pip install 'edgeattn[history]'\n" in out
    assert run(["history", str(tiny.path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [series["engine"] for series in document["series"]] == ["dense", "efficient"]
    assert document["change_points"] is False


def test_bundles_side_by_side_are_recorded_too(tmp_path, history, quick_bench, capsys):
    paths = [str(tiny_bundle.make(tmp_path / name, name=name).path) for name in ("main", "branch")]
    assert run(["bench", *paths, *quick_bench]) == 0
    assert sorted((each.name, each.engine) for each in read(history)) == [
        ("branch", "efficient"),
        ("main", "efficient"),
    ]


def test_a_damaged_history_costs_no_bench(tiny, history, quick_bench, capsys):
    history.parent.mkdir()
    history.write_text("notes" * 1000)
    assert run(["bench", str(tiny.path), *quick_bench]) == 0
    printed, logged = capsys.readouterr()
    assert "8 tokens: " in printed
    assert (tiny.path / "bench.json").exists()
    assert f"the bench is not in the history: {history}: cannot be read as a history" in logged
    assert history.read_text() == "notes" * 1000
    assert run(["history"]) == 2
    assert "fix: move it away" in capsys.readouterr().err


def test_a_locked_history_costs_no_bench(tiny, history, caplog, monkeypatch):
    monkeypatch.setattr("edgeattn.history.file._WAIT_S", 0.1)
    monkeypatch.setattr("edgeattn.history.keep.measurements", lambda document, bundles: [row(1, 10.0)])
    append(history, [])
    with closing(sqlite3.connect(history, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        keep({}, [tiny])
    assert "the bench is not in the history: " in caplog.text
    assert "is locked by another process" in caplog.text
    assert read(history) == []


def test_an_invalid_session_is_not_kept(tiny, history, caplog):
    keep({"conditions": {"invalid": "2 of 3 pairs were discarded: hot\x1b[31m"}}, [tiny])
    assert caplog.messages == [
        "the bench is not in the history, its session is invalid: 2 of 3 pairs were discarded: hot"
    ]
    assert not history.exists()


def test_a_document_of_a_device_that_is_none(tiny, history, caplog):
    Bench().keep(tiny, {"cells": "\x1b[31mnothing"})
    keep({"machine": {}, "cells": [{"contestants": {"efficient": {}}}], "contestants": {}}, [tiny])
    assert [record.message.split(":")[0] for record in caplog.records] == ["the bench is not in the history"] * 2
    assert "\x1b" not in caplog.text
    assert not history.exists()


def test_each_device_power_mode_and_runtime_is_a_series_of_its_own(history, without_otava, capsys):
    others = [{"device": "orin-nano"}, {"power_mode": "powersave"}, {"runtime": "openvino"}, {"threads": 2}]
    others += [{"protocol": "quick"}, {"length": 512}, {"processor": "Cortex-A78AE"}]
    append(history, [row(1, 10.0), row(2, 10.0, method="fp16", edgeattn="0.2.0")])
    append(history, [row(day, 20.0, **changed) for day, changed in enumerate(others, start=3)])
    assert run(["history", "kws", "--json"]) == 0
    series = json.loads(capsys.readouterr().out)["series"]
    assert sorted(len(each["measurements"]) for each in series) == [1] * 7 + [2]


def test_energies_of_different_scopes_are_not_one_series(history, without_otava, capsys):
    append(history, [row(1, 10.0, energy_mj=3.0, energy_scope="package")])
    append(history, [row(2, 10.0, energy_mj=5.0, energy_scope="wall"), row(3, 10.0)])
    assert run(["history", "--metric", "energy_mj", "--json"]) == 0
    series = json.loads(capsys.readouterr().out)["series"]
    assert [(each["scope"], len(each["measurements"])) for each in series] == [("package", 1), ("wall", 1)]


def test_a_change_is_shown(history, one_change, slower_since_may, capsys):
    append(history, slower_since_may)
    assert run(["history"]) == 0
    assert "+19.8% since 2026-05-11" in capsys.readouterr().out
    assert run(["history", "kws", "--last", "12"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        "kws, efficient, 128 tokens: p50_ms, onnxruntime, full, pi5, Cortex-A76, performance, 4 threads"
    )
    assert [line[:10] for line in lines if line.endswith("+19.8% from here")] == ["2026-05-11"]
    assert len([line for line in lines if line.startswith("2026-")]) == 12


def test_otava_finds_the_change_and_none_in_noise(slower_since_may):
    pytest.importorskip("otava", reason="Apache Otava is not installed: pip install 'edgeattn[history]'")
    found = changes.changes([each.p50_ms for each in slower_since_may])
    assert [(each.index, round(each.relative, 2)) for each in found] == [(10, 0.2)]
    assert changes.changes([10.0 + 0.1 * (day % 3) for day in range(30)]) == []
    assert changes.changes([10.0]) == changes.changes([10.0, 20.0]) == changes.changes([7.0] * 9) == []


def test_a_plot_with_markup_in_a_name(history, one_change, slower_since_may, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    name = "<script>alert(1)</script> $\\frac$ \x1b[31mred"
    append(history, [each.model_copy(update={"name": name}) for each in slower_since_may])
    for plot in (tmp_path / "a.svg", tmp_path / "b.svg"):
        assert run(["history", "--plot", str(plot)]) == 0
    assert "\x1b" not in capsys.readouterr().out
    drawn = (tmp_path / "a.svg").read_text()
    assert drawn == (tmp_path / "b.svg").read_text()
    texts = "".join(Xml.fromstring(drawn).itertext())
    assert "<script>" not in drawn
    assert "<script>alert(1)</script> $\\frac$ red" in texts
    assert "+19.8%" in texts


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--metric", "p50"], 2, "unknown metric 'p50'\n  fix: did you mean 'p50_ms'?"),
        (["kwz"], 2, "nothing is recorded of a bundle 'kwz'\n  fix: did you mean 'kws'?"),
        (["--plot", "history.png"], 2, "history.png does not end in .svg"),
        (["--file", "absent.sqlite"], 2, "absent.sqlite: there is no such file"),
    ],
)
def test_wrong_words_get_the_right_ones(history, options, code, said, without_otava, capsys):
    append(history, [row(1, 10.0)])
    assert run(["history", *options]) == code
    assert said in capsys.readouterr().err


def test_without_matplotlib_there_is_no_plot(history, without_otava, monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "edgeattn.history.plot", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    append(history, [row(1, 10.0)])
    assert run(["history", "--plot", "history.svg"]) == 4
    assert "fix: pip install 'edgeattn[history]'" in capsys.readouterr().err


def test_before_the_first_bench(history, without_otava, monkeypatch, capsys):
    assert run(["history"]) == 0
    assert capsys.readouterr().out == f"nothing is recorded yet in {history}; `edgeattn bench` records\n"
    monkeypatch.setenv("EDGEATTN_HISTORY", "off")
    assert run(["history"]) == 2
    assert "no history is kept: EDGEATTN_HISTORY is off\n  fix: use --file" in capsys.readouterr().err
