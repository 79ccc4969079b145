"""Bytes, nodes and memory against their limits."""

from __future__ import annotations

import pytest

from edgeattn.gate.exact import grown, memory, nodes


def test_the_nodes_of_the_shipped_graph_are_counted(tiny):
    assert nodes(tiny) == 12


@pytest.mark.parametrize(
    ("candidate", "verdict", "why"),
    [
        (90, "PASS", None),
        (101, "PASS", None),
        (102, "FAIL", "102 nodes, at most 101 are allowed: the baseline has 100"),
        (None, "FAIL", "it is not reported any more"),
    ],
)
def test_more_than_what_is_ignored_fails(candidate, verdict, why):
    row = grown("nodes", "nodes", candidate, 100, 0.01)
    assert (row.verdict, row.why, row.blocking) == (verdict, why, True)


def test_what_the_baseline_does_not_report_is_no_metric():
    assert grown("nodes_elsewhere", "nodes", 3, None, 0.0) is None
    assert grown("nodes_elsewhere", "nodes", 1, 0, 0.0).verdict == "FAIL"


def test_memory_is_limited_by_the_least_of_its_limits():
    peaks = {"candidate": 120e6, "baseline": 100e6}
    row = memory(peaks, 128, {"--memory-limit": None, "the memory of the device": 8e9})
    assert row.why == "120.0 MB, at most 110.0 MB are allowed: the baseline's peak plus 10 %"
    asked = memory({"candidate": 100e6, "baseline": 100e6}, 128, {"--memory-limit": 90e6})
    assert asked.why == "100.0 MB, at most 90.0 MB are allowed: --memory-limit"
    assert memory({"candidate": 13e6, "baseline": 10e6}, None, {}).verdict == "PASS", "a small process differs by 4 MiB"
    assert memory({"candidate": None, "baseline": 10e6}, None, {}) is None
