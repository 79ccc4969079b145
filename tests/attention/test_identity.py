"""The control that mixes nothing."""

from __future__ import annotations

import torch

from edgeattn.attention.identity import Identity
from edgeattn.attention.variant import Shape


def test_every_token_keeps_its_own_value_and_nothing_else_matters():
    q, k, v = (torch.randn(2, 2, 9, 4, generator=torch.Generator().manual_seed(i)) for i in range(3))
    made = Identity(Shape(2, 4, 0.5), Identity.Options())
    mask = torch.arange(9) < 5
    for out in (made(q, k, v), made(k * 9, q - 3, v, mask.expand(2, 9))):
        assert torch.equal(out, v)
    assert list(made.parameters()) == []
    assert Identity.cost(Identity.Options(), 100, made.shape).flops == 0
