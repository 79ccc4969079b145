"""The report's section on what quantizing each layer costs."""

from __future__ import annotations

import bench_documents
import pytest
import tiny_bundle
from report_pages import evidence, render, visible

from edgeattn.report.sections import quantizing
from edgeattn.report.subject import Subject

ERRORS = {f"layer.{number}": 10.0**-number for number in range(1, 10)}
INT8 = {"sensitivity": ERRORS, "left_in_float": ["layer.1", "layer.9"], "quantized": 7}
HALF = {"in_fp32": {"norm": 13, "overflow": 2}, "overflow": ["exp"]}


@pytest.fixture
def manifest(tmp_path):
    return tiny_bundle.make(tmp_path / "tiny").manifest


def page(manifest, quantized, **options):
    return render(manifest, build={**bench_documents.build(), "quantized": quantized}, **options)


def section(manifest, quantized):
    build = {**bench_documents.build(), "quantized": quantized}
    return quantizing.section(Subject([evidence(manifest, build=build)], pictures=False))


def test_the_worst_layers_stand_first_and_what_is_left_in_float_is_among_them(manifest):
    candidates = {"efficient fp32": {}, "efficient int8": INT8, "efficient int8-fp16": INT8}
    shown = visible(page(manifest, candidates)).partition("What quantizing costs")[2].partition("all 9 layers")[0]
    for sentence in (
        "efficient int8, efficient int8-fp16: the worst 7 of 9 layers",
        "layer error alone precision layer.1 0.1 left in float layer.2 0.01 int8",
        "layer.6 1.00e-06 int8 layer.9 1.00e-09 left in float",
    ):
        assert sentence in shown
    assert "layer.7" not in shown


def test_what_stays_in_fp32_is_said_with_its_reasons(manifest):
    shown = visible(page(manifest, {"dense fp16": HALF, "dense int8-fp16": {**INT8, **HALF, "overflow": []}}))
    assert "dense fp16: in fp32 stay 13 norm, 2 overflow; near the end of fp16's range on samples: exp." in shown
    assert "dense int8-fp16: in fp32 stay 13 norm, 2 overflow." in shown


def test_without_such_methods_there_is_no_section(manifest):
    assert section(manifest, {"efficient fp32": {}, "dense int8-dynamic": {"quantized": 36}}) is None


def test_facts_that_are_none_do_no_harm(manifest):
    assert section(manifest, {"a": {"sensitivity": 3, "left_in_float": None, "in_fp32": [], "overflow": 1}}) is None
    hostile = {"sensitivity": {"<b>x</b>": "y", "<i>": 0.5, "z": -1.0}, "left_in_float": []}
    assert "<b>x" not in page(manifest, {"a": hostile}, pictures=True)


def test_a_strip_names_the_layers_that_stay_in_float(manifest):
    facts = {**INT8, "left_in_float": ["encoder.layer.0.mlp"]}
    engines = {side: engine.model_copy(update={"method": "int8"}) for side, engine in manifest.engines.items()}
    shown = visible(page(manifest.model_copy(update={"engines": engines}), {"efficient int8": facts}))
    assert "layer 0 hedgehog features 16 int8, 1 product in float" in shown
