"""The report's section on what quantizing each layer costs."""

from __future__ import annotations

import re
from html import unescape

import bench_documents
import tiny_bundle

from edgeattn.report import sensitivity
from edgeattn.report.html import render

ERRORS = {f"layer.{number}": 10.0**-number for number in range(1, 10)}
INT8 = {"sensitivity": ERRORS, "left_in_float": ["layer.1", "layer.9"], "quantized": 7}
HALF = {"in_fp32": {"norm": 13, "overflow": 2}, "overflow": ["exp"]}


def visible(markup):
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", markup)))


def test_the_worst_layers_stand_first_and_what_is_left_in_float_is_among_them():
    shown = visible(sensitivity.tables({"efficient fp32": {}, "efficient int8": INT8, "efficient int8-fp16": INT8}))
    for sentence in (
        "efficient int8, efficient int8-fp16: the worst 7 of 9 layers",
        "layer error alone layer.1 0.1 left in float layer.2 0.01 int8",
        "layer.6 1.00e-06 int8 layer.9 1.00e-09 left in float A layer's error is 1 - cosine",
    ):
        assert sentence in shown
    assert "layer.7" not in shown


def test_what_stays_in_fp32_is_said_with_its_reasons():
    shown = visible(sensitivity.tables({"dense fp16": HALF, "dense int8-fp16": {**INT8, **HALF, "overflow": []}}))
    assert "dense fp16: in fp32 stay 13 norm, 2 overflow; near the end of fp16's range on samples: exp." in shown
    assert "dense int8-fp16: in fp32 stay 13 norm, 2 overflow." in shown


def test_without_such_methods_there_is_no_section():
    assert sensitivity.tables({"efficient fp32": {}, "dense int8-dynamic": {"quantized": 36}}) == ""


def test_facts_that_are_none_do_no_harm():
    assert sensitivity.tables({"a": {"sensitivity": 3, "left_in_float": None, "in_fp32": [], "overflow": 1}}) == ""
    hostile = {"sensitivity": {"<b>x</b>": "y", "<i>": 0.5}, "left_in_float": []}
    assert "<b>x" not in sensitivity.tables({"a": hostile})


def test_the_page_of_a_built_bundle_has_it_from_the_build_document(tmp_path):
    manifest = tiny_bundle.make(tmp_path / "tiny").manifest
    document = {**bench_documents.build(), "quantized": {"efficient int8": INT8}}
    page = visible(render(manifest, None, None, document))
    assert "What quantizing costs, layer by layer efficient int8: the worst 7 of 9 layers" in page
    assert "What quantizing costs" not in render(manifest, None, None, bench_documents.build())
