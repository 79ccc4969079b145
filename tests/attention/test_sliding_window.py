"""Sliding windows against torch's attention under the equivalent mask."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from tests.attention.masked import (
    assert_is_attention,
    assert_left_padding_changes_nothing,
    inputs,
    left_padded,
    right_padded,
    variant,
)

both_modes = pytest.mark.parametrize("causal", [False, True], ids=["bidirectional", "causal"])


@pytest.mark.parametrize(("window", "n"), [(2, 9), (6, 40), (70, 100), (300, 420)])
@pytest.mark.parametrize("g", [0, 1, 5])
def test_bidirectional_is_half_a_window_on_each_side_and_the_global_tokens(window, n, g):
    made = variant("sliding_window", window=window, global_tokens=g)
    assert_is_attention(made, lambda i, j: abs(i - j) <= window / 2 or i < g or j < g, n)
    assert_is_attention(made, lambda i, j: abs(i - j) <= window / 2 or i < g or j < g, n, right_padded([n, n - 4], n))


@pytest.mark.parametrize(("window", "n"), [(2, 9), (6, 40), (70, 100), (300, 420)])
@pytest.mark.parametrize("g", [0, 1, 5])
def test_causal_is_the_last_keys_and_the_sinks(window, n, g):
    made = variant("sliding_window", causal=True, window=window, global_tokens=g)
    assert_is_attention(made, lambda i, j: j <= i and (i - j < window or j < g), n)
    assert_is_attention(made, lambda i, j: j <= i and (i - j < window or j < g), n, right_padded([n, n - 4], n))


@both_modes
@pytest.mark.parametrize("g", [0, 3])
def test_a_window_as_wide_as_the_sequence_is_dense(causal, g):
    n = 50
    made = variant("sliding_window", causal=causal, window=100, global_tokens=g)
    q, k, v = inputs(n, dv=5)
    expected = scaled_dot_product_attention(q, k, v, is_causal=causal)
    torch.testing.assert_close(made(q, k, v), expected, rtol=1e-5, atol=1e-5)
    mask = left_padded([n, 20], n)
    assert_is_attention(made, lambda i, j: j <= i or not causal, n, mask)


@both_modes
@pytest.mark.parametrize("padding", [1, 7, 40])
def test_padding_on_the_left_changes_nothing(causal, padding):
    made = variant("sliding_window", causal=causal, window=6, global_tokens=3)
    assert_left_padding_changes_nothing(made, 45, padding)


def test_sinks_are_seen_from_anywhere_and_see_nothing_later():
    q, k, v = inputs(200)
    for g in (0, 2):
        made = variant("sliding_window", causal=True, window=4, global_tokens=g)
        moved = v.clone()
        moved[:, :, 0] += 1.0
        assert torch.equal(made(q, k, v)[:, :, 199], made(q, k, moved)[:, :, 199]) == (g == 0)
        moved = v.clone()
        moved[:, :, 2] += 1.0
        assert torch.equal(made(q, k, v)[:, :, :2], made(q, k, moved)[:, :, :2])


@both_modes
@pytest.mark.parametrize("mask", [None, torch.tensor([[False, True, True]])], ids=["whole", "left"])
def test_gradients_with_fewer_tokens_than_global_ones(causal, mask):
    made = variant("sliding_window", causal=causal, heads=1, d=2, window=2, global_tokens=7)
    q, k, v = (x.requires_grad_() for x in inputs(3, b=1, h=1, d=2, dtype=torch.float64))
    assert torch.autograd.gradcheck(lambda q, k, v: made(q, k, v, mask)[:, :, 1:], (q, k, v))


def test_nothing_of_the_size_of_the_dense_map_is_made():
    """The dense map would take 64 GiB here."""
    n = 2**17
    q, k, v = inputs(n, b=1, h=1, d=2)
    with torch.no_grad():
        out = variant("sliding_window", heads=1, d=2, window=4)(q, k, v)
    near = scaled_dot_product_attention(q[:, :, -1:], *(torch.cat([x[:, :, :1], x[:, :, -3:]], 2) for x in (k, v)))
    torch.testing.assert_close(out[:, :, -1:], near)
