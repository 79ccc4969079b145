"""Dilated windows against torch's attention under the equivalent mask."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from tests.attention.masked import (
    assert_is_attention,
    assert_left_padding_changes_nothing,
    inputs,
    right_padded,
    variant,
)

both_modes = pytest.mark.parametrize("causal", [False, True], ids=["bidirectional", "causal"])


@pytest.mark.parametrize("dilation", [2, 3, 16])
@pytest.mark.parametrize("n", [1, 7, 48, 97])
@pytest.mark.parametrize("g", [0, 2])
def test_bidirectional_is_every_dilation_th_key_on_each_side(dilation, n, g):
    made = variant("dilated_window", window=4, dilation=dilation, global_tokens=g)
    for mask in (None, right_padded([n, (n + 1) // 2], n)):
        assert_is_attention(
            made,
            lambda i, j: ((i - j) % dilation == 0 and abs(i - j) <= 2 * dilation) or i < g or j < g,
            n,
            mask,
        )


@pytest.mark.parametrize("dilation", [2, 3, 16])
@pytest.mark.parametrize("n", [1, 7, 48, 97])
@pytest.mark.parametrize("g", [0, 2])
def test_causal_is_every_dilation_th_key_before(dilation, n, g):
    made = variant("dilated_window", causal=True, window=4, dilation=dilation, global_tokens=g)
    assert_is_attention(made, lambda i, j: j <= i and (((i - j) % dilation == 0 and i - j < 4 * dilation) or j < g), n)


@both_modes
def test_dilation_1_is_a_sliding_window(causal):
    q, k, v = inputs(77)
    mask = right_padded([77, 30], 77)
    options = {"window": 6, "global_tokens": 2}
    dilated = variant("dilated_window", causal, dilation=1, **options)(q, k, v, mask)
    assert torch.equal(dilated, variant("sliding_window", causal, **options)(q, k, v, mask))


@both_modes
def test_interleaved_sequences_do_not_meet(causal):
    """A window as wide as the sequence is dense attention within each interleaved sequence."""
    q, k, v = inputs(44)
    found = variant("dilated_window", causal, window=88, dilation=4, global_tokens=0)(q, k, v)
    for r in range(4):
        expected = scaled_dot_product_attention(*(x[:, :, r::4] for x in (q, k, v)), is_causal=causal)
        torch.testing.assert_close(found[:, :, r::4], expected, rtol=1e-5, atol=1e-5)


@both_modes
@pytest.mark.parametrize("padding", [1, 3, 10])
def test_padding_on_the_left_changes_nothing(causal, padding):
    made = variant("dilated_window", causal=causal, window=4, dilation=3, global_tokens=2)
    assert_left_padding_changes_nothing(made, 40, padding)
