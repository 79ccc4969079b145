"""Feeds hold real tokens, at the requested length, and rotate."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_bundle

from edgeattn.bench.inputs import bench_feeds, load_feeds, one_by_one, save_feeds
from edgeattn.bundle import Interface, TensorSpec
from edgeattn.errors import BundleError, InputError

IMAGE = Interface(
    inputs=(TensorSpec(name="pixels", dtype="float32", dims=("batch", 1, 2, 2)),),
    outputs=(TensorSpec(name="y", dtype="float32", dims=("batch", 3)),),
    axes={},
)


@pytest.fixture
def evaluation(tiny):
    return tiny.arrays("eval")


@pytest.mark.parametrize("length", [2, 16, 500])
def test_tokens_of_samples_are_strung_together_without_padding(evaluation, length):
    feeds = bench_feeds(tiny_bundle.INTERFACE, evaluation, length=length, batch_size=2, count=3)
    assert len(feeds) == 3
    for feed in feeds:
        assert feed["input_ids"].shape == feed["attention_mask"].shape == (2, length)
        assert feed["attention_mask"].all()
        assert (feed["input_ids"] > 0).all()  # 0 is the padding
    rows = {row.tobytes() for feed in feeds for row in feed["input_ids"]}
    assert len(rows) == 6


def test_the_first_row_is_the_first_samples_one_after_the_other(evaluation):
    ids, mask = (evaluation[f"input.{name}"] for name in ("input_ids", "attention_mask"))
    expected = np.concatenate([row[valid > 0] for row, valid in zip(ids, mask, strict=True)])[:40]
    feed = bench_feeds(tiny_bundle.INTERFACE, evaluation, length=40, batch_size=1, count=1)[0]
    np.testing.assert_array_equal(feed["input_ids"][0], expected)


def test_without_a_length_the_evaluations_own_is_taken(evaluation):
    feed = bench_feeds(tiny_bundle.INTERFACE, evaluation, length=None, batch_size=1, count=1)[0]
    assert feed["input_ids"].shape == (1, tiny_bundle.LENGTH)


def test_a_model_without_a_sequence_gets_its_samples():
    pixels = np.arange(12).reshape(3, 1, 2, 2)
    feeds = bench_feeds(IMAGE, {"input.pixels": pixels}, length=None, batch_size=2, count=2)
    assert [feed["pixels"].dtype for feed in feeds] == [np.float32, np.float32]
    np.testing.assert_array_equal(feeds[1]["pixels"], pixels[[2, 0]])
    with pytest.raises(InputError, match="length 8 was asked for, but the inputs of the model have one size"):
        bench_feeds(IMAGE, {"input.pixels": pixels}, length=8, batch_size=1, count=1)


def test_more_tokens_than_memory_holds_are_refused(evaluation):
    with pytest.raises(InputError, match="batch size 1000000 at length 1000000 is more than 4194304 tokens at once"):
        bench_feeds(tiny_bundle.INTERFACE, evaluation, length=10**6, batch_size=10**6, count=1)


def test_samples_come_one_by_one_without_their_padding(evaluation):
    batches = list(one_by_one(tiny_bundle.INTERFACE, evaluation))
    assert len(batches) == tiny_bundle.SAMPLES
    assert [len(batch["input_ids"][0]) for batch in batches] == list(evaluation["input.attention_mask"].sum(1))


def test_missing_empty_and_hidden_samples_are_said():
    ids = np.ones((2, 3), dtype=np.int64)
    with pytest.raises(BundleError, match="lack the graph's input 'attention_mask'"):
        list(one_by_one(tiny_bundle.INTERFACE, {"input.input_ids": ids}))
    with pytest.raises(BundleError, match="empty or differ in number"):
        list(one_by_one(tiny_bundle.INTERFACE, {"input.input_ids": ids, "input.attention_mask": ids[:1]}))
    hidden = {"input.input_ids": ids, "input.attention_mask": ids * 0}
    with pytest.raises(BundleError, match=r"no sample of eval\.npz has anything that its mask shows"):
        bench_feeds(tiny_bundle.INTERFACE, hidden, length=4, batch_size=1, count=1)


def test_feeds_survive_a_file(tmp_path):
    feeds = [{"a": np.arange(3), "b:c": np.ones((1, 2), dtype=np.float32)} for _ in range(11)]
    save_feeds(tmp_path / "feeds.npz", feeds)
    loaded = load_feeds(tmp_path / "feeds.npz")
    assert len(loaded) == 11
    np.testing.assert_equal(loaded, feeds)
