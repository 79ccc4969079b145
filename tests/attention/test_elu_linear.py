"""The control: its formula, and that it has nothing to learn."""

from __future__ import annotations

import torch

from tests.attention.linear_family import close, inputs, layer


@torch.no_grad()
def test_it_is_the_formula_of_katharopoulos():
    q, k, v = inputs(11, b=1, h=1, dv=3)

    def phi(x):
        return torch.where(x > 0, x + 1, x.exp())

    for causal in (False, True):
        found = layer("elu_linear", heads=1, causal=causal)(q, k, v)
        for i in range(11):
            weights = torch.stack([phi(q[0, 0, i]) @ phi(k[0, 0, j]) for j in range(i + 1 if causal else 11)])
            close(found[0, 0, i], weights @ v[0, 0, : len(weights)] / weights.sum())


def test_it_learns_nothing():
    assert list(layer("elu_linear").parameters()) == []


@torch.no_grad()
def test_features_that_are_all_zero_give_zero_and_no_nan():
    q, k, v = inputs(5)
    assert torch.equal(layer("elu_linear")(q - 500, k, v), torch.zeros(2, 2, 5, 8))
