"""Windows on a grid against torch's attention under the equivalent mask, and against Swin."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch.nn.functional import scaled_dot_product_attention
from transformers import SwinConfig
from transformers.models.swin.modeling_swin import SwinLayer, window_partition, window_reverse

from tests.attention.masked import assert_is_attention, inputs, right_padded, variant


def same_window(width, window, shift, prefix):
    def seen(i, j):
        if min(i, j) < prefix:
            return True
        places = [divmod(x - prefix, width) for x in (i, j)]
        first, second = ([(axis - shift) // window for axis in place] for place in places)
        return first == second

    return seen


@pytest.mark.parametrize(("window", "shift"), [(1, 0), (2, 0), (3, 1), (4, 2), (4, 3)])
@pytest.mark.parametrize(("n", "width"), [(1, 4), (3, 4), (33, 4), (50, 7), (64, 9)])
@pytest.mark.parametrize("prefix", [0, 1, 5])
def test_patches_see_their_window_and_the_prefix(window, shift, n, width, prefix):
    made = variant("window_2d", window=window, shift=shift, prefix_tokens=prefix, grid_width=width)
    seen = same_window(width, window, shift, prefix)
    assert_is_attention(made, seen, n)
    assert_is_attention(made, seen, n, right_padded([n, (n + 1) // 2], n))


@pytest.mark.parametrize(("n", "width"), [(1, 1), (2, 1), (50, 7), (51, 8), (37, 6), (197, 14)])
def test_without_a_width_the_grid_is_the_smallest_square(n, width):
    made = variant("window_2d", window=2, shift=1, prefix_tokens=1)
    assert_is_attention(made, same_window(width, 2, 1, 1), n)


def test_a_window_that_covers_the_grid_is_dense():
    q, k, v = inputs(50, dv=5)
    expected = scaled_dot_product_attention(q, k, v)
    for options in ({"window": 7}, {"window": 20, "shift": 10}):
        found = variant("window_2d", prefix_tokens=1, **options)(q, k, v)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shift", [0, 2])
def test_is_what_swin_computes(shift):
    """Which rolls the image, attends inside windows under a mask, and rolls it back."""
    height, width, window = 12, 8, 4
    q, k, v = inputs(height * width)
    layer = SwinLayer(SwinConfig(window_size=window), 8, (height, width), 2, shift_size=shift)
    mask = layer.get_attn_mask(height, width, q.dtype, q.device)

    def windows(x):
        image = x[0].unflatten(1, (height, width)).roll((-shift, -shift), (1, 2))
        return window_partition(image, window).flatten(1, 2).unflatten(0, (2, -1))

    mixed = scaled_dot_product_attention(windows(q), windows(k), windows(v), attn_mask=mask)
    image = window_reverse(mixed.flatten(0, 1).unflatten(1, (window, window)), window, height, width)
    expected = image.roll((shift, shift), (1, 2)).flatten(1, 2)
    found = variant("window_2d", window=window, shift=shift, prefix_tokens=0, grid_width=width)(q, k, v)[0]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_a_shift_by_a_whole_window_is_refused():
    with pytest.raises(ValidationError, match="shift 2 must be below window 2"):
        variant("window_2d", window=2, shift=2)
