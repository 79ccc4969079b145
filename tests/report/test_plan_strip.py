"""The plan as a strip of layers."""

from __future__ import annotations

import tiny_bundle
from report_pages import evidence, render, visible

from edgeattn.attention import ATTENTION
from edgeattn.manifest import PlanEntry
from edgeattn.report.sections import plan
from edgeattn.report.subject import Subject
from edgeattn.report.variants import VARIANTS


def manifest(tmp_path, *entries, **changes):
    made = tiny_bundle.make(tmp_path / "tiny").manifest
    found = tuple(PlanEntry(layer=layer, variant=variant, options=options) for layer, variant, options in entries)
    return made.model_copy(update={"plan": found, **changes})


def strip(made):
    section = plan.section(Subject([evidence(made)], pictures=False))
    return next(block.layers for block in section.blocks if block.kind == "strip")


def test_every_variant_is_explained():
    assert list(VARIANTS) == list(ATTENTION)


def test_layers_that_kept_their_attention_are_there_too(tmp_path):
    layers = strip(manifest(tmp_path, (1, "hedgehog", {}), (3, "sliding_window", {"window": 8})))
    assert [layer.attention for layer in layers] == ["dense", "hedgehog", "dense", "sliding window"]
    assert [layer.place for layer in layers] == [0, 1, 0, 2]
    assert layers[3].options == "window 8"
    page = visible(render(manifest(tmp_path / "b", (1, "hedgehog", {}))))
    assert "1 of 2 layers have new attention." in page
    assert "hedgehog linear attention: its cost grows with the length" in page


def test_a_new_model_s_recipe_says_how_many_layers_there_are(tmp_path):
    layers = strip(manifest(tmp_path, (0, "agent", {}), recipe={"model": {"layers": 4}}))
    assert [layer.attention for layer in layers] == ["agent", "dense", "dense", "dense"]


def test_merging_leaves_fewer_tokens_for_the_layers_after_it(tmp_path):
    layers = strip(manifest(tmp_path, (0, "agent", {}), (1, "agent", {}), (0, "token_merging", {"r": 4})))
    assert [layer.tokens for layer in layers] == ["16", "12"]  # the longest length of the bench is 16
    assert layers[0].options == "then merges 4 tokens away"


def test_nothing_was_swapped(tmp_path):
    assert "Nothing was swapped: every layer kept its attention." in render(manifest(tmp_path))
