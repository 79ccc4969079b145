"""The graphs that are exported to be timed, of given cores; tests/cli/test_crossover.py has real ones."""

from __future__ import annotations

import onnx
import onnx_ir as ir
import pytest

from edgeattn.attention import ATTENTION
from edgeattn.attention.dense import FUSED
from edgeattn.attention.hedgehog import Hedgehog
from edgeattn.crossover import export as module
from edgeattn.crossover.export import Setting, export
from edgeattn.devices import load_device
from edgeattn.errors import ToolError
from edgeattn.measure.graphs import Effort, Graphs

TEXT = """<ir_version: 10, opset_import: ["": 20, "com.microsoft": 1]>
core (float[b, n, 16] q, float[b, n, 16] k, float[b, n, 16] v) => (float[b, n, 16] out) {{ {nodes} }}"""
NODES = {
    "plain": "m = Add(q, k) out = Add(m, v)",
    "MultiHeadAttention": "out = com.microsoft.MultiHeadAttention<num_heads = 2>(q, k, v)",
}
BOTH = ("onnxruntime", "openvino")


def setting(*variants, lengths):
    options = {name: ATTENTION[name].Options() for name in variants}
    return Setting(heads=2, head_dim=8, lengths=lengths, variants=options, key_mask=False, threads=1)


@pytest.fixture
def failing(monkeypatch):
    """variant -> lengths at which it cannot be exported."""
    failing = {}

    def core(variant, *, length, operators=frozenset(), **_):
        if length in failing.get(variant.name, ()):
            raise ToolError(f"{length} tokens are no square")
        form = "MultiHeadAttention" if variant.name == "dense" and operators else "plain"
        return ir.from_proto(onnx.parser.parse_model(TEXT.format(nodes=NODES[form])))

    monkeypatch.setattr(module, "core", core)
    return failing


@pytest.mark.usefixtures("failing")
def test_plain_forms_are_for_all_runtimes_and_fused_ones_for_those_that_have_the_operator(tmp_path):
    graphs = export(setting("hedgehog", lengths=(4, 8)), load_device("cpu"), tmp_path, Effort(rounds=3))
    found = {(form.variant, form.name, form.projections): form.runtimes for form in graphs.listing.forms}
    assert found == {
        (variant, name, projections): runtimes
        for variant, name, runtimes in (
            ("dense", "plain", BOTH), ("dense", "MultiHeadAttention", BOTH[:1]), ("hedgehog", "plain", BOTH),
        )
        for projections in (False, True)
    }  # fmt: skip
    assert graphs.listing.effort.rounds == 3
    assert Graphs.open(tmp_path) == graphs


@pytest.mark.usefixtures("failing")
def test_a_target_without_the_runtime_of_the_fused_form_has_plain_forms(tmp_path):
    target = load_device("cpu")
    plain = target.model_copy(update={"runtimes": tuple(each for each in target.runtimes if each.name == "openvino")})
    graphs = export(setting("hedgehog", lengths=(4,)), plain, tmp_path)
    assert {(form.name, form.runtimes) for form in graphs.listing.forms} == {("plain", ("openvino",))}


@pytest.mark.usefixtures("failing")
def test_a_form_says_the_memory_of_each_length(tmp_path):
    forms = export(setting("hedgehog", lengths=(4, 64)), load_device("cpu"), tmp_path).listing.forms
    dense, hedgehog = (next(form for form in forms if form.variant == name) for name in ("dense", "hedgehog"))
    assert dense.memory_bytes[1] > 16 * dense.memory_bytes[0] > 0
    assert hedgehog.memory_bytes[1] < dense.memory_bytes[1]


def test_a_variant_of_one_length_a_graph_is_exported_where_it_can_be(monkeypatch, failing, tmp_path):
    monkeypatch.setattr(Hedgehog, "dynamic_length", False)
    monkeypatch.setattr(Hedgehog, "operators", frozenset({FUSED}))  # which its graph does not hold
    failing["hedgehog"] = [8]
    listing = export(setting("hedgehog", lengths=(4, 8)), load_device("cpu"), tmp_path).listing
    assert [form.length for form in listing.forms if form.variant == "hedgehog"] == [4, 4]
    assert list(listing.notes) == ["hedgehog at N = 8: left out, 8 tokens are no square"]


def test_a_variant_of_any_length_that_cannot_be_exported_ends_it(failing, tmp_path):
    failing["hedgehog"] = [None]
    with pytest.raises(ToolError, match="no square"):
        export(setting("hedgehog", lengths=(4,)), load_device("cpu"), tmp_path)
