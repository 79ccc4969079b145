"""Any padding, packing and bias with any window: what torch's own attention computes under the mask in one piece."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from edgeattn.attention.dense import dense_attention
from edgeattn.attention.variant import lowest
from tests.attention.masked import inputs, left_padded, right_padded, variant

HEADS = 2
some = settings(max_examples=60, deadline=None, derandomize=True)


@dataclass(frozen=True)
class Problem:
    """key_mask: [B, N] bool or None   bias: [1 or B, 1 or H, N, N] or None   seen: [B, 1, N, N] bool, of both."""

    batch: int
    n: int
    key_mask: torch.Tensor | None
    bias: torch.Tensor | None
    seen: torch.Tensor

    @property
    def keys(self) -> torch.Tensor:
        """[B, N] bool: which are attended."""
        return torch.ones(self.batch, self.n, dtype=torch.bool) if self.key_mask is None else self.key_mask

    def check(self, attention, seen):
        """attention: a function of q, k, v; seen: [N, N] or [B or 1, 1, N, N] bool, which pairs its windows let see."""
        q, k, v = inputs(self.n, b=self.batch, h=HEADS, dv=5)
        seen = (seen & self.seen).expand(self.batch, HEADS, -1, -1)
        added = torch.where(seen, 0.0 if self.bias is None else self.bias, -torch.inf)
        expected, found = scaled_dot_product_attention(q, k, v, attn_mask=added), attention(q, k, v)
        assert torch.isfinite(found).all()
        # A padded query, or one that sees no key, may become anything.
        real = seen.any(-1) & self.keys[:, None]
        torch.testing.assert_close(found[real], expected[real], rtol=1e-5, atol=1e-5)


@st.composite
def problems(draw, longest=100):
    batch, n = draw(st.integers(1, 3)), draw(st.integers(1, longest))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 999)))
    padding = draw(st.sampled_from(["none", "right", "left", "holes"]))
    lengths = [draw(st.integers(0, n)) for _ in range(batch)]
    key_mask = {
        "none": None,
        "right": right_padded(lengths, n),
        "left": left_padded(lengths, n),
        "holes": torch.rand(batch, n, generator=generator) < 0.6,
    }[padding]
    # Texts that are packed into one sequence, blocks of equal length, or pairs that are hidden at random.
    hides = draw(st.sampled_from(["nothing", "packing", "blocks", "pairs"]))
    rows = draw(st.sampled_from([1, batch]))
    apart = torch.ones(rows, 1, n, n, dtype=torch.bool)
    if hides == "packing":
        text = torch.randint(0, 4, (rows, n), generator=generator).sort().values
        apart = (text[:, :, None] == text[:, None])[:, None]
    elif hides == "blocks":
        block = torch.arange(n) // draw(st.integers(1, n))
        apart = (block[:, None] == block).expand(rows, 1, n, n)
    elif hides == "pairs":
        apart = torch.rand(rows, 1, n, n, generator=generator) < 0.5
    bias = None
    if hides != "nothing" or draw(st.booleans()):
        heads = draw(st.sampled_from([1, HEADS]))
        learned = torch.randn(rows, heads, n, n, generator=generator) * draw(st.sampled_from([0.0, 1.0, 4.0]))
        bias = torch.where(apart, learned, draw(st.sampled_from([-1e9, lowest(torch.float32)])))
    seen = apart if key_mask is None else apart & key_mask[:, None, None]
    return Problem(batch, n, key_mask, bias, seen)


def ages(n):
    """[N, N]: how many tokens before the query a key is."""
    return torch.arange(n)[:, None] - torch.arange(n)


@some
@given(problem=problems(40), causal=st.booleans(), window=st.none() | st.integers(1, 45))
def test_dense_attention(problem, causal, window):
    age = ages(problem.n)
    seen = (age >= 0) if causal else torch.ones_like(age, dtype=torch.bool)
    seen = seen if window is None else seen & (age.abs() < window)
    problem.check(
        lambda q, k, v: dense_attention(
            q, k, v, problem.key_mask, q.shape[-1] ** -0.5, causal=causal, window=window, bias=problem.bias
        ),
        seen,
    )


@some
@given(
    problem=problems(),
    causal=st.booleans(),
    half=st.integers(1, 40),
    spacing=st.integers(1, 5),
    global_tokens=st.integers(0, 4),
)
def test_sliding_and_dilated_windows(problem, causal, half, spacing, global_tokens):
    options = {"window": 2 * half, "global_tokens": global_tokens}
    made = (
        variant("sliding_window", causal, **options)
        if spacing == 1
        else variant("dilated_window", causal, dilation=spacing, **options)
    )
    age, place = ages(problem.n), torch.arange(problem.n)
    near = (age >= 0) & (age < 2 * half * spacing) if causal else age.abs() <= half * spacing
    near = near & (age % spacing == 0)
    # The first attended token of each sequence and those behind it.
    first = torch.tensor([int(row.nonzero()[0]) if row.any() else problem.n for row in problem.keys])
    leading = (place >= first[:, None]) & (place < first[:, None] + global_tokens)
    seen = near | leading[:, None, None]
    seen = seen & (age >= 0) if causal else seen | leading[:, None, :, None]
    problem.check(lambda q, k, v: made(q, k, v, problem.key_mask, problem.bias), seen)


@some
@given(
    problem=problems(60), window=st.integers(1, 5), width=st.integers(1, 9), prefix=st.integers(0, 3), data=st.data()
)
def test_windows_on_a_grid(problem, window, width, prefix, data):
    shift = data.draw(st.integers(0, window - 1))
    made = variant("window_2d", window=window, shift=shift, prefix_tokens=prefix, grid_width=width)
    patch = torch.arange(problem.n) - prefix
    cell = torch.stack([(patch // width - shift) // window, (patch % width - shift) // window], -1)
    seen = (cell[:, None] == cell).all(-1) | (patch < 0) | (patch < 0)[:, None]
    problem.check(lambda q, k, v: made(q, k, v, problem.key_mask, problem.bias), seen)


@some
@given(problem=problems(60), block=st.integers(2, 20))
def test_as_many_blocks_as_there_are(problem, block):
    made = variant("block_topk", block=block, topk=30)
    everything = torch.ones(problem.n, problem.n, dtype=torch.bool)
    problem.check(lambda q, k, v: made(q, k, v, problem.key_mask, problem.bias), everything)


@pytest.mark.parametrize("name", ["sliding_window", "dilated_window", "window_2d", "block_topk"])
def test_a_query_whose_window_is_all_hidden_by_the_bias_sees_nothing_outside(name):
    """As the reference has it: a hidden key of its own window is nearer than a key that is not there."""
    made = variant(name, **({"grid_width": 4} if name == "window_2d" else {}))
    q, k, v = inputs(150)
    bias = torch.full((1, 1, 150, 150), lowest(torch.float32))
    torch.testing.assert_close(made(q, k, v, None, bias), made.reference(q, k, v, None, bias), rtol=1e-5, atol=1e-5)
