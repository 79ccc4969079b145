"""Attention to chosen blocks against torch's attention under the equivalent mask."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from tests.attention.masked import assert_is_attention, inputs, left_padded, right_padded, variant


def chosen(n, block, topk, mask):
    """[B, H, N, N] bool for the inputs of `assert_is_attention`, one query block after the other."""
    q, k, _ = inputs(n, dv=5, seed=n)
    starts = range(0, n, block)
    seen = torch.zeros(*q.shape[:2], n, n, dtype=torch.bool)
    for b, h in ((b, h) for b in range(q.shape[0]) for h in range(q.shape[1])):
        real = torch.ones(n, dtype=torch.bool) if mask is None else mask[b]
        parts = {s: [t for t in range(s, min(s + block, n)) if real[t]] for s in starts}
        for own in (s for s in starts if parts[s]):
            query = q[b, h, parts[own]].mean(0)
            suits = {s: float(query @ k[b, h, parts[s]].mean(0)) for s in starts if parts[s] and s != own}
            for s in (own, *sorted(suits, key=suits.__getitem__, reverse=True)[:topk]):
                seen[b, h, own : own + block, s : s + block] = True
    return seen


@pytest.mark.parametrize(("block", "topk"), [(2, 1), (4, 2), (4, 5), (16, 2)])
@pytest.mark.parametrize("n", [1, 3, 8, 41, 70])
def test_a_block_sees_itself_and_the_best_others(block, topk, n):
    made = variant("block_topk", block=block, topk=topk)
    holes = torch.rand(2, n, generator=torch.Generator().manual_seed(n)) < 0.5
    for mask in (None, right_padded([n, (n + 1) // 2], n), left_padded([n, 1], n), holes):
        assert_is_attention(made, chosen(n, block, topk, mask), n, mask)


@pytest.mark.parametrize("n", [1, 5, 40, 47])
def test_with_as_many_as_there_are_it_is_dense(n):
    made = variant("block_topk", block=8, topk=5)
    assert_is_attention(made, torch.ones(n, n, dtype=torch.bool), n)
    assert_is_attention(made, torch.ones(n, n, dtype=torch.bool), n, right_padded([n, 1], n))


def test_finds_the_keys_that_matter_wherever_they_are():
    """A fixed window of as many keys would not see them."""
    n, place = 640, 480
    q, k, v = inputs(n)
    q[:, :, :8] = 4.0
    k[:, :, place : place + 8] = 4.0
    found = variant("block_topk", block=8, topk=1)(q, k, v)[:, :, :8]
    dense = scaled_dot_product_attention(q, k, v)[:, :, :8]
    torch.testing.assert_close(found, dense, rtol=1e-4, atol=1e-4)


def test_every_head_and_sequence_chooses_for_itself():
    q, k, v = inputs(96)
    made = variant("block_topk", block=4, topk=2)
    whole = made(q, k, v)
    for b in range(2):
        for h in range(2):
            alone = made(*(x[b : b + 1, h : h + 1] for x in (q, k, v)))
            torch.testing.assert_close(alone[0, 0], whole[b, h], rtol=1e-5, atol=1e-5)


def test_gradients_are_those_of_finite_differences_where_the_choice_stays():
    made = variant("block_topk", heads=1, d=2, block=2, topk=1)
    q, k, v = (x.requires_grad_() for x in inputs(9, b=1, h=1, d=2, dtype=torch.float64))
    assert torch.autograd.gradcheck(made, (q, k, v))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["fp16", "bf16"])
def test_half_precision_chooses_as_fp32_does(dtype):
    """On the same rounded inputs: rounding them may turn a near tie, rounding inside the variant must not."""
    q, k, v = (x.to(dtype) for x in inputs(4096))
    made = variant("block_topk", block=16, topk=4)
    with torch.no_grad():
        found, exact = made(q, k, v).float(), made(q.float(), k.float(), v.float())
    assert (found - exact).norm() < 4 * torch.finfo(dtype).eps * exact.norm()
