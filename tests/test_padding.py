"""Padding along axes, with and without masks."""

from __future__ import annotations

import numpy as np
import torch

from edgeattn import padding
from edgeattn.interface import Axis

AXES = {"frames": Axis(unit="frames", mask="frame_mask"), "tokens": Axis(unit="tokens", mask="token_mask")}
DIMS = {
    "audio": ("batch", None, "frames"), "frame_mask": ("batch", "frames"),
    "ids": ("batch", "tokens"), "token_mask": ("batch", "tokens"), "cross": ("batch", "tokens", "frames"),
}  # fmt: skip


def batch():
    frame_mask = np.array([[1, 1, 1, 0, 0], [1, 0, 0, 0, 0]])
    token_mask = np.array([[1, 0, 0], [1, 1, 0]])
    return {
        "audio": np.arange(20).reshape(2, 2, 5), "frame_mask": frame_mask, "ids": np.arange(6).reshape(2, 3),
        "token_mask": token_mask, "cross": np.ones((2, 3, 5)), "label": np.array([4, 5]),
    }  # fmt: skip


def test_each_axis_is_cut_where_its_own_mask_ends():
    found = padding.trim(batch(), DIMS, AXES)
    assert {name: x.shape for name, x in found.items()} == {
        "audio": (2, 2, 3), "frame_mask": (2, 3), "ids": (2, 2), "token_mask": (2, 2), "cross": (2, 2, 3),
        "label": (2,),
    }  # fmt: skip
    np.testing.assert_array_equal(found["audio"], batch()["audio"][:, :, :3])


def test_without_a_mask_nothing_is_cut():
    arrays = {name: x for name, x in batch().items() if name != "frame_mask"}
    assert padding.trim(arrays, DIMS, AXES)["audio"].shape == (2, 2, 5)
    hidden = {**arrays, "token_mask": np.zeros((2, 3))}
    assert padding.trim(hidden, DIMS, AXES)["ids"].shape == (2, 3)


def test_padding_that_is_not_at_the_end_stays():
    assert padding.trim({"ids": np.ones((1, 3)), "token_mask": np.array([[0, 1, 1]])}, DIMS, AXES)["ids"].shape == (
        1,
        3,
    )


def test_tensors_are_cut_too():
    assert padding.cut({"audio": torch.ones(2, 2, 5)}, DIMS, "frames", 4)["audio"].shape == (2, 2, 4)


def test_lengths_count_the_content_of_all_axes():
    assert padding.lengths(batch(), AXES).tolist() == [4, 3]
    assert padding.lengths(batch(), {"patches": Axis(unit="patches")}) is None


def test_batches_of_unequal_size_are_stacked():
    found = padding.stack([np.ones((1, 2), np.int64), np.full((2, 3), 2)])
    assert found.tolist() == [[1, 1, 0], [2, 2, 2], [2, 2, 2]]
    assert padding.stack([np.array([1]), np.array([2, 3])]).tolist() == [1, 2, 3]
