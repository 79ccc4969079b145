"""Token merging against its plain form: any shape, mask and number of merges, and through ONNX."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from key_masks import KINDS, key_mask
from pydantic import ValidationError

from edgeattn.attention import REDUCERS, check_options
from edgeattn.attention.token_merging import TokenMerging, TokenMergingOptions, first, match, merge, reference

LENGTHS = (1, 2, 3, 5, 16, 37)


def tokens_of(b, n, c=6, seed=0):
    return torch.randn(b, n, c, generator=torch.Generator().manual_seed(seed))


def merged(x, mask, options, times=2):
    """x after `times` merges on its own first channels, and the groups."""
    reducer = TokenMerging(TokenMergingOptions(**options))
    metric, least = x[..., :4], options["r"] + options["protect"]
    x, metric, tokens = first(x, metric, mask, least)
    for _ in range(times):
        x, tokens = reducer.reduce(x, metric, tokens)
        metric = x[..., :4]
    return x, tokens


def expected(x, options, times=2):
    """The same for one sequence without padding, by the plain form: (x, size, x of every token)."""
    r, protect = options["r"], options["protect"]
    n, size, group = len(x), torch.ones(len(x)), list(range(len(x)))
    for done in range(1, times + 1):
        left = max(n - done * r, min(n, r + protect))
        x, size, place = reference(x, x[..., :4], size, protect, left)
        group = [place[each] for each in group]
    return x, size, x[group]


def agrees(x, mask, options):
    found, tokens = merged(x, mask, options)
    whole = tokens.restore(found)
    n = x.shape[1]
    assert found.shape[1] == tokens.length == max(n - 2 * options["r"], min(n, options["r"] + options["protect"]))
    assert torch.isfinite(whole).all()
    for row in range(len(x)):
        real = torch.ones(n, dtype=torch.bool) if mask is None else mask[row]
        if not real.any():
            continue
        exact, size, each = expected(x[row, real], options)
        count = len(exact)
        torch.testing.assert_close(found[row, :count], exact)
        torch.testing.assert_close(tokens.size[row, :count], size)
        torch.testing.assert_close(whole[row, real], each)
        if mask is not None:
            assert tokens.key_mask[row].tolist() == [True] * count + [False] * (found.shape[1] - count)
            assert tokens.count[row] == count


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{"r": 1, "protect": 1}, {"r": 4, "protect": 0}, {"r": 7, "protect": 3}])
def test_it_is_the_plain_form_applied_to_each_row_alone(kind, options):
    for n in LENGTHS:
        agrees(tokens_of(3, n, seed=n), key_mask(kind, 3, n), options)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_it_is_the_plain_form_for_any_shape_and_mask(data):
    b, n = data.draw(st.integers(1, 3), label="B"), data.draw(st.integers(1, 30), label="N")
    options = {"r": data.draw(st.integers(1, 20), label="r"), "protect": data.draw(st.integers(0, 4), label="protect")}
    rows = st.lists(st.booleans(), min_size=n, max_size=n)
    mask = data.draw(st.none() | st.lists(rows, min_size=b, max_size=b).map(torch.tensor), label="mask")
    agrees(tokens_of(b, n, seed=data.draw(st.integers(0, 99), label="seed")), mask, options)


def test_values_at_padding_never_count():
    x, mask = tokens_of(3, 16), key_mask("random", 3, 16)
    filled = torch.where(mask[..., None], x, 100.0)
    options = {"r": 3, "protect": 1}
    for (one, tokens), (other, _) in ((merged(x, mask, options), merged(filled, mask, options)),):
        torch.testing.assert_close(one[tokens.key_mask], other[tokens.key_mask])


def test_no_merge_changes_nothing():
    x = tokens_of(2, 9)
    _, metric, tokens = first(x, x, None, 9)
    found, after = merge(x, tokens, match(metric, 1, 9))
    assert torch.equal(found, x)
    assert torch.equal(after.restore(found), x)
    assert torch.equal(after.size, torch.ones(2, 9))


@pytest.mark.parametrize(("n", "left"), [(40, 30), (30, 20), (12, 11), (11, 11), (5, 5), (1, 1)])
def test_at_least_r_and_the_protected_are_left(n, left):
    found, tokens = merged(tokens_of(2, n), None, {"r": 10, "protect": 1}, times=1)
    assert (found.shape[1], tokens.length) == (left, left)
    assert float(tokens.size.sum()) == 2 * n


def test_protected_tokens_stay_as_they_are():
    x = tokens_of(2, 30)
    x[:, 1:] = x[:, :1] + 0.01 * x[:, 1:]  # all are alike
    found, tokens = merged(x, None, {"r": 9, "protect": 5}, times=3)
    assert torch.equal(found[:, :5], x[:, :5])
    assert torch.equal(tokens.size[:, :5], torch.ones(2, 5))
    assert torch.equal(tokens.representative[:, :5], torch.arange(5).expand(2, 5))


def test_order_is_kept():
    _, tokens = merged(tokens_of(3, 37), key_mask("left", 3, 37), {"r": 5, "protect": 1}, times=4)
    for places, real in zip(tokens.representative, tokens.key_mask, strict=True):
        assert (places[real].diff() > 0).all()


def test_twins_become_one():
    x = tokens_of(2, 8).repeat_interleave(2, 1)
    found, tokens = merged(x, None, {"r": 8, "protect": 0}, times=1)
    assert torch.equal(found, x[:, ::2])
    assert torch.equal(tokens.restore(found), x)
    assert torch.equal(tokens.size, torch.full((2, 8), 2.0))


def test_keys_of_zero_are_like_no_other():
    found, _ = merged(torch.zeros(1, 6, 6), None, {"r": 2, "protect": 1})
    assert torch.equal(found, torch.zeros(1, 3, 6))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_large_groups_do_not_overflow(dtype):
    x = torch.full((1, 4096, 4), 100.0, dtype=dtype)
    tokens = first(x, x, None, 2)[2]
    tokens = replace(tokens, size=torch.full_like(tokens.size, 1000.0))
    found, after = merge(x, replace(tokens, removed=2048), match(x, 0, 2048))
    assert found.dtype == dtype
    assert torch.equal(found, x[:, :2048])
    assert float(after.size.sum()) == 4096 * 1000


def test_gradients_reach_every_token():
    x = tokens_of(2, 11).double().requires_grad_()
    metric, mask = tokens_of(2, 11, seed=1).double(), key_mask("right", 2, 11)
    reducer = TokenMerging(TokenMergingOptions(r=3))

    def whole(x):
        moved, rows, tokens = first(x, metric, mask, 4)
        found, tokens = reducer.reduce(moved, rows, tokens)
        return tokens.restore(found)

    torch.autograd.gradcheck(whole, x, eps=1e-3, atol=1e-3)
    (whole(x) * mask[..., None]).sum().backward()
    assert (x.grad[mask] > 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"r": 8, "protct": 1}, "option 'protct' is not one of token_merging's; did you mean 'protect'"),
        ({}, "r\n  Field required"),
        ({"r": 0}, "greater than or equal to 1"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises((ValueError, ValidationError), match=message):
        check_options("token_merging", options, REDUCERS)
