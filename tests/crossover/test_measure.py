"""What is measured and what is left out, for given graphs and times; tests/cli/test_crossover.py has real ones."""

from __future__ import annotations

from types import SimpleNamespace

import onnx
import onnx_ir as ir
import pytest

from edgeattn.attention import ATTENTION
from edgeattn.attention.dense import FUSED
from edgeattn.attention.hedgehog import Hedgehog
from edgeattn.crossover import measure as module
from edgeattn.crossover.measure import Setting, measure
from edgeattn.errors import ToolError

TEXT = """<ir_version: 10, opset_import: ["": 20, "com.microsoft": 1]>
core (float[b, n, 16] q, float[b, n, 16] k, float[b, n, 16] v) => (float[b, n, 16] out) {{ {nodes} }}"""
NODES = {
    "plain": "m = Add(q, k) out = Add(m, v)",
    "MultiHeadAttention": "out = com.microsoft.MultiHeadAttention<num_heads = 2>(q, k, v)",
}


def setting(*variants, lengths):
    options = {name: ATTENTION[name].Options() for name in variants}
    return Setting(heads=2, head_dim=8, lengths=lengths, variants=options, key_mask=False, threads=1)


@pytest.fixture
def given(monkeypatch):
    """ms: (label, length) -> time of a form, 1 by default. asked: what was timed. failing: variant -> lengths."""
    given = SimpleNamespace(ms={}, asked=[], failing={})

    def core(variant, *, length, operators=frozenset(), **_):
        if length in given.failing.get(variant.name, ()):
            raise ToolError(f"{length} tokens are no square")
        form = "MultiHeadAttention" if variant.name == "dense" and operators else "plain"
        return ir.from_proto(onnx.parser.parse_model(TEXT.format(nodes=NODES[form])))

    def compare(candidates, feeds, *, rounds, **_):
        length = next(iter(feeds[0].values())).shape[1]
        given.asked.append((length, sorted(candidates)))
        return {label: [given.ms.get((label, length), 1.0)] * rounds for label in candidates}

    monkeypatch.setattr(module, "core", core)
    monkeypatch.setattr(module, "quick_compare", compare)
    return given


def test_the_fastest_form_of_each_is_held_against_the_other(given):
    given.ms = {("dense plain", 4): 3.0, ("dense MultiHeadAttention", 4): 2.0, ("hedgehog plain", 4): 0.5}
    document = measure(setting("hedgehog", lengths=(4,)))
    for cell in document["cells"]:
        assert (cell["dense"]["form"], cell["dense"]["ms"]) == ("MultiHeadAttention", 2.0)
        assert cell["variants"]["hedgehog"]["speedup"]["ratio"] == pytest.approx(4.0)
        assert cell["variants"]["hedgehog"]["speedup"]["confidence"] > 0.95
    assert [(pays["projections"], pays["pays_from"]) for pays in document["pays"]] == [(False, 4), (True, 4)]


def test_what_would_fill_the_memory_or_pass_the_limit_is_left_out_and_said(monkeypatch, given):
    monkeypatch.setattr(module, "usable_memory_bytes", lambda: 180_000)
    given.ms = {("hedgehog plain", 64): 100_000.0}
    document = measure(setting("hedgehog", lengths=(4, 64, 128)))
    assert [cell["length"] for cell in document["cells"]] == [4, 4, 64, 64]
    assert [cell["dense"] is None for cell in document["cells"]] == [False, False, True, True]
    assert document["cells"][2]["variants"]["hedgehog"]["speedup"] is None
    assert document["cells"][2]["variants"]["hedgehog"]["ms"] == 100_000.0
    said = [note.partition(": left out")[0] for note in document["notes"]]
    assert said == ["dense MultiHeadAttention at N = 64", "dense plain at N = 64", "N = 128 and above"]


def test_a_variant_of_one_length_a_graph_is_measured_where_it_can_be(monkeypatch, given):
    monkeypatch.setattr(Hedgehog, "dynamic_length", False)
    monkeypatch.setattr(Hedgehog, "operators", frozenset({FUSED}))  # which its graph does not hold
    given.failing = {"hedgehog": [8]}
    document = measure(setting("hedgehog", lengths=(4, 8)))
    dense = ["dense MultiHeadAttention", "dense plain"]
    assert given.asked == [(4, [*dense, "hedgehog plain"])] * 2 + [(8, dense)] * 2
    assert document["notes"] == ["hedgehog at N = 8: left out, 8 tokens are no square"]


def test_a_variant_of_any_length_that_cannot_be_exported_ends_it(given):
    given.failing = {"hedgehog": [None]}
    with pytest.raises(ToolError, match="no square"):
        measure(setting("hedgehog", lengths=(4,)))
