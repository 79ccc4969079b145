"""What a profile says of the roofline, and what it says where nothing can be counted."""

from __future__ import annotations

import json

import pytest
import tiny_bundle

from edgeattn.errors import InputError
from edgeattn.jobs import Bench
from edgeattn.profiling import roofline
from edgeattn.profiling.roofline import with_roofline
from edgeattn.report.profile import show_profile

PEAKS = {"peaks": {"fp32": 0.1}, "bandwidth_gb_per_s": 20}


def kind(name, ms, nodes):
    return {"kind": name, "ms": ms, "share": ms / 4, "operators": 1, "nodes": nodes}


@pytest.fixture
def profile():
    """Of the efficient graph of the tiny bundle: Gather, MatMul, Tanh, MatMul and more."""
    cell = {
        "length": 8, "batch_size": 1, "graph": "model.onnx", "total_ms": 4.0, "inference_ms": 6.0, "timed_ms": 3.0,
        "layers": [{"layer": "other", "ms": 4.0, "share": 1.0}],
        "kinds": [kind("matmul", 1e-9, [[1], [3]]), kind("activation", 3.0, [[2]]), kind("other", 1.0, [])],
        "operators": [],
    }  # fmt: skip
    contestant = {"runtime": "onnxruntime", "method": "a profiler", "unavailable": None, "cells": [cell]}
    return {
        "schema": 1, "machine": {}, "threads": 1, "unit": "tokens", "contestants": {"efficient": contestant},
    }  # fmt: skip


@pytest.fixture
def bundle(tmp_path):
    return tiny_bundle.make(tmp_path / "tiny", target=tiny_bundle.this_machine(**PEAKS))


def test_kinds_and_the_whole_reach_their_share(bundle, profile, capsys):
    found = with_roofline(profile, [bundle])
    (cell,) = found["contestants"]["efficient"]["cells"]
    matmul, activation, other = cell["kinds"]
    assert matmul["flops"] == 2 * 2 * 8 * tiny_bundle.WIDTH**2
    assert matmul["of_roofline"] > 1
    assert activation["of_roofline"] == pytest.approx(activation["roofline_ms"] / 3)
    assert other["roofline_ms"] is None
    assert cell["roofline_ms"] == matmul["roofline_ms"] + activation["roofline_ms"]
    assert 0.5 < cell["counted"] < 1
    show_profile(found)
    printed = capsys.readouterr().out
    assert "% **\n" in printed
    assert "** more than the roofline: an engine may skip bytes that were counted" in printed
    assert f"efficient at 8 tokens: {1 - cell['counted']:.0%} of the operations are in no operator" in printed
    assert "2 x the timed 3 ms" in printed


def test_operators_that_take_longer_than_the_timed_inference_are_said(bundle, profile, capsys):
    show_profile(with_roofline(profile, [bundle]))
    assert "most of a small operator's time is the profiler's own" in capsys.readouterr().out


def test_nothing_is_made_up_where_the_host_half_is_not_installed(bundle, profile, monkeypatch, capsys):
    monkeypatch.setattr(roofline, "find_spec", lambda name: None)
    found = with_roofline(profile, [bundle])
    (cell,) = found["contestants"]["efficient"]["cells"]
    assert {each["of_roofline"] for each in (cell, *cell["kinds"])} == {None}
    show_profile(found)
    said = "Of roofline: n/a: operations are counted where edgeattn[compile] is installed"
    assert said in capsys.readouterr().out


def test_what_counts_may_refuse(bundle, profile, monkeypatch):
    def refuse(*_, **__):
        raise InputError("the estimate does not count Loop", where="node 3")

    monkeypatch.setattr(roofline, "call", refuse)
    found = with_roofline(profile, [bundle])
    assert found["roofline"] == {
        "basis": None, "above": roofline.ABOVE, "unavailable": "the estimate does not count Loop",
    }  # fmt: skip


def test_a_device_without_the_host_half_gets_its_roofline_here(bundle, profile, monkeypatch):
    """As a host brings it back: in the document, and in the bundle where it was recorded."""
    with monkeypatch.context() as there:
        there.setattr(roofline, "find_spec", lambda name: None)
        document = {"profile": with_roofline(profile, [bundle])}
    bundle.record("profile.json", document["profile"])
    monkeypatch.setattr("edgeattn.history.keep.keep", lambda *_: None)
    Bench(profile=True).keep(bundle, document)
    assert document["profile"]["roofline"]["basis"].startswith("test-device's dense peaks")
    assert json.loads((bundle.path / "profile.json").read_text()) == document["profile"]


def test_rates_of_another_machine_are_not_measured_here(tmp_path, profile):
    bundle = tiny_bundle.make(tmp_path / "tiny")
    found = with_roofline(profile, [bundle], here=False)
    assert found["roofline"]["unavailable"].startswith("the rates of this device are measured on itself")


@pytest.mark.parametrize(
    "changes",
    [{"contestants": None}, {"contestants": {"efficient": {"cells": [{"kinds": "<b>"}]}}}, {"roofline": []}],
)
def test_a_profile_of_a_device_that_cannot_be_read_is_a_warning(bundle, profile, changes, monkeypatch, caplog):
    monkeypatch.setattr("edgeattn.history.keep.keep", lambda *_: None)
    sent = {**profile, "roofline": {"basis": None}, **changes}
    document = {"profile": sent}
    Bench(profile=True).keep(bundle, document)
    assert document == {"profile": sent}
    assert "the profile has no roofline: it cannot be read: " in caplog.text


def test_a_device_names_only_graphs_of_the_bundle(bundle, profile):
    profile["contestants"]["efficient"]["cells"][0]["graph"] = "../elsewhere.onnx"
    found = with_roofline(profile, [bundle])
    assert found["roofline"]["unavailable"] == "../elsewhere.onnx is not a graph of the bundle"
