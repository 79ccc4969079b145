"""Any mask, however it was made, means to edgeattn's dense attention what it means to torch's own."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from edgeattn.attention.dense import dense_attention
from edgeattn.convert.masks import split

HEADS, WIDTH = 2, 4
# What masks are made of; each draws [N, N] or [B, 1, N] and all that are chosen must agree that a key is seen.
PARTS = ("right padding", "left padding", "holes", "causal", "window", "blocks", "packing", "heads", "noise")


@st.composite
def masks(draw):
    """A bool mask [B, 1 or H, N, N], True = attend, of one to three parts, and one of them by itself often."""
    batch, n = draw(st.integers(1, 3)), draw(st.integers(1, 9))
    seen = torch.ones(batch, 1, n, n, dtype=torch.bool)
    age = torch.arange(n)[:, None] - torch.arange(n)
    for part in draw(st.lists(st.sampled_from(PARTS), min_size=0, max_size=3, unique=True)):
        if part in ("right padding", "left padding"):
            lengths = torch.tensor([draw(st.integers(1, n)) for _ in range(batch)])
            keys = torch.arange(n) < lengths[:, None]
            seen = seen & (keys if part == "right padding" else keys.flip(1))[:, None, None]
            if draw(st.booleans()):  # as some models do: rows of padded queries see nothing
                seen = seen & seen.any(-2).unsqueeze(-1)
        elif part == "holes":
            seen = seen & torch.tensor([[draw(st.booleans()) for _ in range(n)] for _ in range(batch)])[:, None, None]
        elif part == "causal":
            seen = seen & (age >= 0)
        elif part == "window":
            seen = seen & (age.abs() < draw(st.integers(1, n)))
        elif part == "blocks":
            block = torch.arange(n) // draw(st.integers(1, n))
            seen = seen & (block[:, None] == block)
        elif part == "packing":
            text = torch.tensor([sorted(draw(st.integers(0, 2)) for _ in range(n)) for _ in range(batch)])
            seen = seen & (text[:, None, :, None] == text[:, None, None])
        elif part == "heads":
            seen = seen.expand(-1, HEADS, -1, -1) & (torch.arange(n) % 3 != torch.arange(HEADS)[:, None])[None, :, None]
        else:
            noise = torch.tensor([[draw(st.booleans()) for _ in range(n)] for _ in range(n)])
            seen = seen & noise
    return seen


@settings(max_examples=300, deadline=None, derandomize=True)
@given(seen=masks(), kind=st.sampled_from(["bool", "lowest", "infinite", "half"]), causal=st.booleans())
def test_a_mask_in_parts_is_the_mask(seen, kind, causal):
    batch, n = seen.shape[0], seen.shape[-1]
    q, k, v = torch.randn(3, batch, HEADS, n, WIDTH, generator=torch.Generator().manual_seed(0))
    low = {"lowest": torch.finfo(torch.float32).min, "infinite": float("-inf"), "half": -1e4}.get(kind)
    mask = seen if low is None else torch.where(seen, 0.0, low)
    key_mask, found, bias = split(mask, batch, causal=causal, variant=None)
    out = dense_attention(q, k, v, key_mask, WIDTH**-0.5, causal=found, bias=bias)
    expected = scaled_dot_product_attention(q, k, v, attn_mask=seen, scale=WIDTH**-0.5)
    # Not compared: rows that see nothing, whose softmax is nobody's to define, and rows of padding that see everything.
    padding = seen.all(-1) & ~seen[:, :, -1]
    matter = seen.any(-1) & ~padding
    torch.testing.assert_close(
        out[matter.expand(-1, HEADS, -1)], expected[matter.expand(-1, HEADS, -1)], rtol=1e-4, atol=1e-5
    )


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    lengths=st.lists(st.integers(2, 8), min_size=1, max_size=3),  # of one token, causal and bidirectional are the same
    left=st.booleans(),
    causal=st.booleans(),
    guess=st.booleans(),
)
def test_padding_and_causality_are_recognised(lengths, left, causal, guess):
    """So that variants, which take no bias, serve them."""
    keys = torch.arange(8) < torch.tensor(lengths)[:, None]
    keys = keys.flip(1) if left else keys
    seen = keys[:, None, None] & (torch.ones(8, 8, dtype=torch.bool).tril() if causal else torch.tensor(True))
    seen = seen.expand(-1, 1, 8, 8)
    key_mask, found, bias = split(seen, len(lengths), causal=guess, variant=None)
    assert bias is None
    assert found == causal
    assert torch.equal(keys, torch.ones_like(keys) if key_mask is None else key_mask)
