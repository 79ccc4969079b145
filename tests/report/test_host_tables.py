"""Results of several hosts in one table."""

from __future__ import annotations

import io

import bench_documents

from edgeattn.report.table import show_hosts


def printed(results):
    stream = io.StringIO()
    show_hosts(results, stream)
    return [" ".join(line.split()) for line in stream.getvalue().splitlines()]


def test_bench_documents_of_hosts():
    ratios = {512: (1.6, 1.5, 1.7)}
    lines = printed([("pi", bench_documents.bench(ratios)), ("local", bench_documents.bench(ratios))])
    assert lines[0].startswith("host tokens engine method p50 ms")
    assert [line.split()[:3] for line in lines[1:5]] == [
        ["pi", "512", "dense"],
        ["pi", "512", "efficient"],
        ["local", "512", "dense"],
        ["local", "512", "efficient"],
    ]
    assert "pi: 512 tokens: 1.60 x faster than dense (1.50 to 1.70)" in lines
    assert sum("pairs of fresh processes" in line for line in lines) == 1


def test_verify_documents_of_hosts():
    failed = {**bench_documents.verify(), "passed": False, "reasons": ["spearman is 0.5, its floor is 0.8"]}
    lines = printed([("pi", bench_documents.verify()), ("local", failed)])
    assert lines[0] == "host metric shipped teacher floor"
    assert lines[1] == "pi spearman 0.8203 0.8211 0.8129 passed"
    assert lines[-2:] == ["pi: passed", "local: spearman is 0.5, its floor is 0.8"]
