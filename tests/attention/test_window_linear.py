"""The hybrid of LoLCATs: where it is softmax, where it is linear, and that every key counts once."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import pad, scaled_dot_product_attention

from edgeattn.attention.hedgehog import Hedgehog
from edgeattn.attention.variant import Shape
from edgeattn.attention.window_linear import WindowLinear


def layer(causal, **options):
    made = WindowLinear(Shape(2, 8, 8**-0.5, causal), WindowLinear.Options(**options))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return made.eval()


def inputs(n, b=2, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(b, 2, n, 8, generator=generator) for _ in range(3)]


both = pytest.mark.parametrize("causal", [False, True], ids=["bidirectional", "causal"])


@both
@torch.no_grad()
@pytest.mark.parametrize("n", [1, 5, 16])
def test_a_window_as_wide_as_the_sequence_is_dense(causal, n):
    q, k, v = inputs(n)
    expected = scaled_dot_product_attention(q, k, v, is_causal=causal)
    for sinks in (0, 1, 3):
        found = layer(causal, window=16, sinks=sinks)(q, k, v)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@both
@torch.no_grad()
@pytest.mark.parametrize("sinks", [0, 2])
def test_every_key_that_may_be_seen_counts_once(causal, sinks):
    """With v = 1 the output is 1 whatever the weights; with one-hot values it is the map, whose support is known."""
    n, made = 30, layer(causal, window=4, sinks=sinks)
    q, k, _ = inputs(n)
    torch.testing.assert_close(made(q, k, torch.ones(2, 2, n, 1)), torch.ones(2, 2, n, 1))
    seen = made(q, k, torch.eye(n).expand(2, 2, n, n)) > 0
    expected = torch.ones(n, n, dtype=torch.bool)
    assert torch.equal(seen, (expected.tril() if causal else expected).expand_as(seen))


@both
@torch.no_grad()
def test_far_keys_count_by_their_features_alone(causal):
    """In proportion to Hedgehog's own weights, for a query whose far keys are the first block's."""
    n, made = 24, layer(causal, window=4, sinks=0)
    q, k, _ = inputs(n)
    linear = Hedgehog(made.shape, Hedgehog.Options())
    linear.query_map, linear.key_map = made.query_map, made.key_map
    identity = torch.eye(n).expand(2, 2, n, n)
    found, pure = made(q, k, identity)[..., -1, :4], linear(q, k, identity)[..., -1, :4]
    torch.testing.assert_close(found / found.sum(-1, keepdim=True), pure / pure.sum(-1, keepdim=True))


@torch.no_grad()
def test_the_learned_factor_weighs_the_window():
    made = layer(False, window=4, sinks=1)
    q, k, _ = inputs(40)
    identity = torch.eye(40).expand(2, 2, 40, 40)

    def near(factor):
        made.window_factor.fill_(factor)
        return made(q, k, identity)[:, :, 20, 16:28].sum()  # of a query in the block 20 to 23

    assert near(-8.0) < near(0.0) < near(8.0)


@both
@torch.no_grad()
def test_sinks_are_the_first_attended_tokens(causal):
    """A whole block of padding on the left only moves the positions."""
    made = layer(causal, window=4, sinks=2)
    q, k, v = inputs(21)
    mask = torch.ones(2, 21, dtype=torch.bool)
    padded = [pad(x, (0, 0, 8, 0), value=5.0) for x in (q, k, v)]
    found = made(*padded, pad(mask, (8, 0)))[:, :, 8:]
    torch.testing.assert_close(found, made(q, k, v, mask), rtol=1e-5, atol=1e-5)


@both
@torch.no_grad()
def test_high_scores_do_not_overflow(causal):
    made = layer(causal, window=4, sinks=1)
    q, k, v = (x * 40 for x in inputs(50))
    found = made(q, k, v)
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found, made.reference(q, k, v), rtol=1e-4, atol=1e-3)


@both
@torch.no_grad()
def test_values_that_are_near_leave_no_trace_in_what_is_far(causal):
    """A sum over all keys, with the near ones subtracted again, would keep their rounding errors."""
    made = layer(causal, window=4, sinks=0)
    q, k, v = inputs(40)
    made.window_factor.fill_(-80.0)  # near keys weigh nothing
    near = slice(16, 24 if causal else 28)  # of a query in the block 20 to 23
    v[:, :, near] = 0.0
    expected = made(q, k, v)[:, :, 23]
    v[:, :, near] = 1e7
    torch.testing.assert_close(made(q, k, v)[:, :, 23], expected, rtol=1e-5, atol=1e-5)
