"""LUNA's features: shared scalar functions of learned projections, a positive-definite kernel, and where they start."""

from __future__ import annotations

import pytest
import torch

from tests.attention.linear_family import close, features, inputs, layer


@torch.no_grad()
@pytest.mark.parametrize("hidden", [2, 4, 10])
def test_untrained_it_is_hedgehogs_exp_form(hidden):
    q, k, v = inputs(30)
    for causal in (False, True):
        luna = layer("luna", hidden=hidden, causal=causal, trained=False)
        hedgehog = layer("hedgehog", feature_map="exp", causal=causal, trained=False)
        close(luna(q, k, v), hedgehog(q, k, v))


@torch.no_grad()
def test_a_feature_is_one_function_of_one_projection():
    """Equation 11, written out: psi_l(w_i x + b_i), the same psi for every i, head, query and key."""
    made = layer("luna", projections=5, channels=3)
    q, k, _ = inputs(4)
    for x, found in zip((q, k), features(made, q, k), strict=True):
        assert found.shape[-1] == made.size == 15
        for head in range(2):
            for i in range(5):
                u = x[:, head] @ made.projection[head, :, i] + made.projection_bias[head, 0, i]
                units = u[..., None] * made.inner + made.inner_bias
                logarithm = (units * units.sigmoid()) @ made.outer + made.outer_bias
                close(found[:, head, :, 3 * i : 3 * i + 3], logarithm.exp())


@torch.no_grad()
def test_its_kernel_is_positive_definite_and_positive():
    made = layer("luna")
    x = inputs(20)[0].double()
    query, key = features(made.double(), x, x)
    kernel = query @ key.mT
    assert torch.equal(query, key)
    assert kernel.min() > 0
    assert torch.linalg.eigvalsh(kernel).min() > -1e-9 * kernel.max()


@torch.no_grad()
def test_a_loud_input_stays_finite():
    for causal in (False, True):
        q, k, v = inputs(300, std=1000.0)
        assert torch.isfinite(layer("luna", causal=causal)(q, k, v)).all()


def test_its_functions_learn():
    """With fixed projections: a scalar counts by how near it is to 0, from either side.

    The kernel that is learned is symmetric, as every kernel of LUNA is: queries and keys share their functions.
    """
    made = layer("luna", d=4, trained=False)
    q, k, v = inputs(40, d=4)
    weights = (-3 * q.square()).exp() @ (-3 * k.square()).exp().mT
    expected = weights / weights.sum(-1, keepdim=True) @ v
    optimizer = torch.optim.Adam([made.inner, made.inner_bias, made.outer, made.outer_bias], lr=0.05)
    errors = []
    for _ in range(150):
        error = (made(q, k, v) - expected).square().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        errors.append(error.item())
    assert errors[-1] < 0.01 * errors[0]
