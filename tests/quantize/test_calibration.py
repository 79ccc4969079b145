"""Calibration samples: spread over all lengths, reproducible, trimmed, and never held-out ones."""

from __future__ import annotations

import numpy as np
import pytest

from edgeattn.errors import DataError
from edgeattn.interface import Axis, Interface, TensorSpec
from edgeattn.quantize.calibration import draw

NAMES = ("input_ids", "attention_mask")
OUT = TensorSpec(name="out", dtype="float32", dims=("batch", 3))
TEXT = Interface(
    inputs=tuple(TensorSpec(name=name, dtype="int64", dims=("batch", "sequence")) for name in NAMES),
    outputs=(OUT,),
    axes={"sequence": Axis(unit="tokens", mask="attention_mask")},
    length_axis="sequence",
)
IMAGES = Interface(
    inputs=(TensorSpec(name="pixel_values", dtype="float32", dims=("batch", 3, 4, 4)),), outputs=(OUT,), axes={}
)


def texts(lengths, seed=0, longest=40):
    rng = np.random.default_rng(seed)
    mask = (np.arange(longest) < np.array(lengths)[:, None]).astype(np.int64)
    return {"input_ids": rng.integers(5, 30000, mask.shape) * mask, "attention_mask": mask}


def same(a, b):
    return len(a) == len(b) and all(
        np.array_equal(x[name], y[name]) for x, y in zip(a, b, strict=True) for name in NAMES
    )


TRAIN = texts([*range(1, 41), *[5] * 60], seed=1)
HELD_OUT = texts([7, 9], seed=2)


def test_every_length_is_drawn_and_each_sample_is_trimmed_to_its_own():
    found = draw(TRAIN, HELD_OUT, TEXT, samples=20)
    lengths = [feeds["input_ids"].shape[1] for feeds in found]
    assert len(found) == 20
    assert lengths == sorted(lengths)
    assert lengths[0] <= 5
    assert lengths[-1] >= 36
    assert all(feeds["input_ids"].shape == feeds["attention_mask"].shape for feeds in found)
    assert all(feeds["attention_mask"].all() for feeds in found)
    known = {row[: mask.sum()].tobytes() for row, mask in zip(*(TRAIN[name] for name in NAMES), strict=True)}
    assert len({feeds["input_ids"].tobytes() for feeds in found} & known) == 20


def test_it_is_reproducible_and_another_seed_draws_others():
    assert same(draw(TRAIN, HELD_OUT, TEXT, samples=9), draw(TRAIN, HELD_OUT, TEXT, samples=9))
    assert not same(draw(TRAIN, HELD_OUT, TEXT, samples=9), draw(TRAIN, HELD_OUT, TEXT, samples=9, seed=1))


def test_no_more_than_there_are():
    assert len(draw(TRAIN, HELD_OUT, TEXT, samples=1000)) == 100


def test_held_out_samples_never_calibrate_and_their_number_is_said(caplog):
    """They are the same without their padding, which is another in each of the two."""
    shared = {name: values[:30] for name, values in TRAIN.items()}
    padded = {name: np.pad(values, ((0, 0), (0, 9))) for name, values in shared.items()}
    found = draw(TRAIN, padded, TEXT, samples=1000)
    assert len(found) == 70
    banned = {row.tobytes() for row in shared["input_ids"]}
    padding = [np.pad(feeds["input_ids"], ((0, 0), (0, 40 - feeds["input_ids"].shape[1]))) for feeds in found]
    assert not {row.tobytes() for row in padding} & banned
    assert "30 of 100 training samples are held out too: none of them calibrates" in caplog.text


@pytest.mark.parametrize(
    ("train", "fact"),
    [(HELD_OUT, "all 2 training samples are held out too"), (texts([]), "there are no training samples")],
)
def test_an_empty_set_is_refused_with_the_remedy(train, fact):
    fix = "give other training data, or methods that need no calibration"
    with pytest.raises(DataError, match=f"data.train: no calibration samples: {fact}\n  fix: {fix}") as caught:
        draw(train, HELD_OUT, TEXT, samples=8)
    assert caught.value.exit_code == 2


def test_images_are_spread_evenly_over_the_data():
    pictures = np.arange(90, dtype=np.float32).reshape(90, 1, 1, 1) * np.ones((1, 3, 4, 4), np.float32)
    found = draw({"pixel_values": pictures, "label": np.arange(90)}, {"pixel_values": -pictures - 1},
                 IMAGES, samples=9)  # fmt: skip
    assert [feeds["pixel_values"].shape for feeds in found] == [(1, 3, 4, 4)] * 9
    assert [int(feeds["pixel_values"][0, 0, 0, 0]) // 10 for feeds in found] == list(range(9))
    assert all(list(feeds) == ["pixel_values"] for feeds in found)
