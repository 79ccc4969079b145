"""Padding on the left of models with rotary positions."""

from __future__ import annotations

import logging
import pickle

import pytest
import tiny_models
import torch

from edgeattn.convert import Choice, convert

HEDGEHOG = ("hedgehog", {"feature_dim": 4})
WINDOW = ("sliding_window", {"window": 4, "global_tokens": 1})
rotary = pytest.mark.parametrize("name", ["eurobert", "nomic_bert", "llama"])


def said(caplog):
    return [record.message for record in caplog.records if record.name == "edgeattn"]


def make(name, choice):
    model, feeds = tiny_models.make(name, 1)
    feeds = {key: x[:2, :9] for key, x in feeds.items()}  # of which none is padding
    assert feeds["attention_mask"].all()
    return convert(model, (Choice(0, *choice),), feeds), feeds


def padded_left(feeds, by=5):
    return {key: torch.nn.functional.pad(x, (by, 0)) for key, x in feeds.items()}


def moved(model, feeds, **more):
    """By how much padding on the left changes what the tokens become."""
    with torch.no_grad():
        expected, found = model(**feeds).last_hidden_state, model(**padded_left(feeds), **more).last_hidden_state
    return float((found[:, 5:] - expected).abs().max())


@rotary
def test_a_batch_padded_on_the_left_is_warned_of_once(name, caplog):
    model, feeds = make(name, HEDGEHOG)
    with caplog.at_level(logging.WARNING, logger="edgeattn"):
        assert moved(model, feeds) > 1e-3
        moved(model, feeds)
    assert said(caplog) == [
        f"{type(model).__name__}: this batch is padded on the left, and hedgehog depends on where rotary positions "
        "start: pad on the right, or give position_ids that are 0 at the first token of each text"
    ]


@rotary
def test_with_the_positions_that_the_warning_asks_for_nothing_moves(name, caplog):
    model, feeds = make(name, HEDGEHOG)
    positions = (torch.arange(14) - 5).clamp(min=0)[None].expand(2, -1)
    assert moved(model, feeds, position_ids=positions) < 1e-5
    assert not said(caplog)


@rotary
def test_a_variant_that_sees_distances_only_is_not_warned_of(name, caplog):
    model, feeds = make(name, WINDOW)
    assert moved(model, feeds) < 1e-5
    assert not said(caplog)


def test_learned_positions_and_padding_on_the_right_are_not_warned_of(caplog):
    model, feeds = make("bert", HEDGEHOG)
    moved(model, feeds)  # as in the teacher, whose positions are counted from the padding on too
    model, feeds = make("eurobert", HEDGEHOG)
    with torch.no_grad():
        model(**tiny_models.feeds("eurobert"))
        model(feeds["input_ids"])
    assert not said(caplog)


def test_a_trace_does_not_warn_and_a_copy_by_pickle_still_does(caplog):
    model, feeds = make("eurobert", HEDGEHOG)
    torch.export.export(model, (), kwargs=padded_left(feeds))
    assert not said(caplog)
    copied = pickle.loads(pickle.dumps(model))
    copied(*padded_left(feeds).values())
    assert len(said(caplog)) == 1
