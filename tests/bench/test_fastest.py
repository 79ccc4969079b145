"""`fastest`: many engines timed by elimination, in real processes."""

from __future__ import annotations

import pytest

from edgeattn.bench import compare
from edgeattn.bench.compare import fastest
from edgeattn.bench.engines import engine_of
from edgeattn.bench.inputs import bench_feeds
from edgeattn.bench.leg import Engine
from edgeattn.errors import BundleError

QUICK = {"rounds": 3, "block_s": 0.02}


def feeds(bundle, *lengths):
    return {
        length: bench_feeds(bundle.manifest, bundle.arrays("eval"), length=length, batch_size=1, count=2)
        for length in lengths
    }


@pytest.fixture
def engines(tiny):
    """At 1024 tokens, dense is many times slower than efficient."""
    dense, efficient = (engine_of(tiny, side, threads=1) for side in ("dense", "efficient"))
    return {"linear": efficient, "again": efficient, "dense": dense}


def test_a_slow_engine_is_timed_alone_and_the_rest_in_turn(tiny, engines):
    found = fastest(engines, dict.fromkeys(engines, "all"), feeds(tiny, 512, 1024), **QUICK)
    assert list(found) == ["linear", "again", "dense"]
    assert [timing.eliminated for timing in found.values()] == [False, False, True]
    assert [timing.rounds for timing in found.values()] == [3, 3, 2]
    for timing in found.values():
        assert list(timing.latency_ms) == [512, 1024]
        assert timing.problem is None
    assert found["dense"].latency_ms[1024] > 1.3 * found["linear"].latency_ms[1024] > 0


def test_engines_are_compared_with_those_of_their_group_only(tiny, engines):
    groups = {"linear": "efficient", "again": "efficient", "dense": "dense"}
    found = fastest(engines, groups, feeds(tiny, 1024), **QUICK)
    assert [timing.eliminated for timing in found.values()] == [False, False, False]


def test_an_engine_that_is_fast_in_one_case_stays(tiny, engines, monkeypatch):
    """At 2 tokens both forms cost the same."""
    monkeypatch.setattr(compare, "SLOWER", 3.0)
    found = fastest(engines, dict.fromkeys(engines, "all"), feeds(tiny, 2, 2048), **QUICK)
    assert found["dense"].latency_ms[2048] > 3 * found["linear"].latency_ms[2048]
    assert not found["dense"].eliminated


@pytest.mark.parametrize("limit", ["together", "memory"])
def test_only_so_many_engines_run_at_once(tiny, engines, monkeypatch, limit):
    if limit == "memory":
        monkeypatch.setattr(compare, "usable_memory_bytes", lambda: 1)
    many = {f"linear {i}": engines["linear"] for i in range(4)}
    found = fastest(many, dict.fromkeys(many, "all"), feeds(tiny, 8), together=2 if limit == "together" else 9, **QUICK)
    assert sum(not timing.eliminated for timing in found.values()) == (2 if limit == "together" else 1)


def test_an_engine_that_does_not_load_or_run_is_reported(tiny, engines, monkeypatch):
    missing = Engine(tiny.path, tiny.path / "engine" / "none", "onnxruntime")
    found = fastest(
        {**engines, "missing": missing}, dict.fromkeys([*engines, "missing"], "all"), feeds(tiny, 8), **QUICK
    )
    assert found["missing"].eliminated
    assert found["missing"].latency_ms == {}
    assert found["missing"].problem
    assert found["linear"].problem is None


def test_where_no_engine_runs_the_first_error_is_raised(tiny):
    missing = Engine(tiny.path, tiny.path / "engine" / "none", "onnxruntime")
    with pytest.raises(BundleError, match="cannot be read"):
        fastest({"a": missing, "b": missing}, {"a": "all", "b": "all"}, feeds(tiny, 8), **QUICK)


def test_a_latency_alone_is_put_on_the_scale_of_those_in_turn(tiny, engines, monkeypatch):
    """As if another load had begun between the two stages, which makes all engines ten times slower."""
    calls = []

    def block(leg, seconds, case=0):
        calls.append(leg.name)
        base = 2.0 if leg.name == "compare dense" else 1.0
        return base * (10 if len(calls) > 2 * len(engines) else 1)

    monkeypatch.setattr(compare, "_block_ms", block)
    found = fastest(engines, dict.fromkeys(engines, "all"), feeds(tiny, 8), **QUICK)
    assert [timing.latency_ms[8] for timing in found.values()] == [10.0, 10.0, 20.0]
    assert found["dense"].eliminated
