"""The table of candidates, in report.html and at the end of a compile."""

from __future__ import annotations

import io
import json
import re

import bench_documents
import tiny_bundle
from report_pages import render, visible

from edgeattn.report.html import refresh
from edgeattn.report.summary import show_bundle


def test_all_candidates_of_a_side_stand_in_one_table_the_fastest_first(tmp_path):
    manifest = tiny_bundle.make(tmp_path / "tiny").manifest
    page = render(manifest, build=bench_documents.build())
    shown = visible(page).partition("All 5 candidates")[2]
    for sentence in (
        "candidate ms at 128 ms at 512 result method runtime on disk cosine spearman",
        "plain int8 4.5 18 below the floor int8-dynamic openvino, bf16 23 MB 0.9981 0.8213",
        "plain int8-dynamic 5 20 shipped int8-dynamic onnxruntime, default 23 MB 0.9981 0.8213",
        "plain fp32 12.5 ~ 50 ~ not faster fp32 onnxruntime, default 23 MB 0.9981 n/a",
        "~ timed for a moment only, because others",
        "fused int8 n/a n/a failed: openvino has no LinearAttention int8-dynamic openvino, default 23 MB",
    ):
        assert sentence in shown
    order = [shown.index(name) for name in ("plain int8 4.5", "plain int8-dynamic 5", "plain fp32 12.5", "fused")]
    assert order == sorted(order)
    assert re.findall(r'<tr class="marked"><td>([^<]+)', page) == ["plain int8-dynamic", "dense fp32"]


def test_the_end_of_a_compile_shows_the_first_candidates_and_the_shipped_one(tmp_path):
    bundle = tiny_bundle.make(tmp_path / "tiny")
    document = bench_documents.build()
    document["candidates"] += [bench_documents.candidate(f"wrong {i}", i, "below the floor") for i in range(1, 8)]
    (bundle.path / "build.json").write_text(json.dumps(document))
    stream = io.StringIO()
    show_bundle(bundle, stream)
    printed = stream.getvalue()
    assert "Not measured yet." in printed
    assert re.findall(r"^(?:efficient|dense) +(\S+ \S+)", printed, re.M) == [
        *(f"wrong {i}" for i in range(1, 6)),
        "plain int8-dynamic",
        "dense fp32",
    ]
    assert "5 more efficient candidates: see the report" in printed
    assert "efficient: plain int8-dynamic is the fastest that keeps the floor" in printed
    assert "fused int8" in refresh(bundle).read_text()


def test_the_end_of_a_compile_without_a_host_says_what_to_do_next(tmp_path):
    bundle = tiny_bundle.make(tmp_path / "tiny", candidates={"fp32": tiny_bundle.graph()})
    stream = io.StringIO()
    show_bundle(bundle, stream)
    assert stream.getvalue() == (
        f"\nNot built yet: 2 candidates for test-device.\n\nbundle: {bundle.path}\n"
        f"next: copy it to the device and follow {bundle.path}/install.md\n"
    )


def test_a_model_without_lengths_has_one_time(tmp_path):
    manifest = tiny_bundle.make(tmp_path / "tiny").manifest
    document = bench_documents.build()
    for row in document["candidates"]:
        row["latency_ms"] = {"whole": 3.0}
    assert "candidate ms result method" in visible(render(manifest, build=document))
