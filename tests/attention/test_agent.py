"""Agent attention: softmax twice, through pooled queries."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from edgeattn.attention.agent import Agent
from edgeattn.attention.variant import Shape


def layer(agents):
    return Agent(Shape(2, 8, 8**-0.5), Agent.Options(agents=agents)).eval()


def inputs(n, b=2):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(b, 2, n, 8, generator=generator) for _ in range(3)]


@pytest.mark.parametrize(("n", "agents"), [(24, 4), (24, 24), (12, 1)])
def test_it_is_two_softmax_attentions_through_the_pooled_queries(n, agents):
    q, k, v = inputs(n)
    pooled = q.unflatten(2, (agents, n // agents)).mean(3)
    expected = scaled_dot_product_attention(q, pooled, scaled_dot_product_attention(pooled, k, v))
    torch.testing.assert_close(layer(agents)(q, k, v), expected, rtol=1e-5, atol=1e-5)


def test_more_agents_than_tokens_are_as_many_as_tokens():
    q, k, v = inputs(5)
    torch.testing.assert_close(layer(64)(q, k, v), layer(5)(q, k, v), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("real", [list(range(10)), list(range(6, 16)), [0, 1, 3, 4, 6, 9, 10, 12, 14, 15]], ids=str)
def test_padding_anywhere_changes_nothing(real):
    tokens, made = inputs(10), layer(4)
    padded = [torch.full((2, 2, 16, 8), 50.0) for _ in tokens]
    for into, x in zip(padded, tokens, strict=True):
        into[:, :, real] = x
    mask = torch.zeros(2, 16, dtype=torch.bool)
    mask[:, real] = True
    torch.testing.assert_close(made(*padded, mask)[:, :, real], made(*tokens), rtol=1e-5, atol=1e-5)
