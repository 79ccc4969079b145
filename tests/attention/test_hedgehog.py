"""Hedgehog's three feature maps against their formulas, and how close to softmax attention a converted layer starts."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch.nn.functional import scaled_dot_product_attention

from edgeattn.attention.hedgehog import Hedgehog
from tests.attention.linear_family import close, features, inputs, layer

MAPS = ("softmax", "exp", "joint")
every_map = pytest.mark.parametrize("feature_map", MAPS)


def attention(query, key, v):
    """Linear attention by the explicit map of every query with every key."""
    weights = torch.einsum("bhif,bhjf->bhij", query, key)
    return weights / weights.sum(-1, keepdim=True) @ v


@torch.no_grad()
def test_each_map_is_its_papers():
    q, k, v = inputs(23, dv=3)
    for name, phi in {
        "softmax": lambda p: torch.cat([p.exp() / p.exp().sum(-1, True), (-p).exp() / (-p).exp().sum(-1, True)], -1),
        "exp": lambda p: torch.cat([p.exp(), 1 / p.exp()], -1),
        # fla's map doubles what its own projection gives.
        "joint": lambda p: torch.cat([2 * (p / 2), -2 * (p / 2)], -1).softmax(-1),
    }.items():
        made = layer("hedgehog", feature_map=name, feature_dim=6)
        query = phi(torch.einsum("bhnd,hdf->bhnf", q, made.query_map).double())
        key = phi(torch.einsum("bhnd,hdf->bhnf", k, made.key_map).double())
        assert query.shape[-1] == made.size == 12
        close(made(q, k, v), attention(query, key, v.double()).float())


@torch.no_grad()
def test_exp_is_exact_over_the_range_of_its_exponents_in_fp32():
    """Features from e^-25 to e^25: nothing under- or overflows, in either form."""
    q, k, v = (x * 10 for x in inputs(40))
    for causal in (False, True):
        made = layer("hedgehog", feature_map="exp", trained=False, causal=causal)
        query, key = (x.double() @ weight.double() for x, weight in ((q, made.query_map), (k, made.key_map)))
        assert 20 < query.abs().max() < 28
        weights = torch.cat([query, -query], -1).exp() @ torch.cat([key, -key], -1).exp().mT
        weights = weights.tril() if causal else weights
        expected = weights / weights.sum(-1, keepdim=True) @ v.double()
        # Exponents near 20 are themselves only exact to 1e-6.
        close(made(q, k, v), expected.float(), 2e-4)


@torch.no_grad()
@pytest.mark.parametrize("causal", [False, True], ids=["bidirectional", "causal"])
def test_exp_stays_finite_where_its_exponent_is_held(causal):
    made = layer("hedgehog", feature_map="exp", causal=causal)
    q, k, v = inputs(2000, std=1000.0)
    assert made.query(q).abs().max() > 1000
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        assert torch.isfinite(made(*(x.to(dtype) for x in (q, k, v)))).all()
    query, key = features(made, q, k)
    assert max(query.max(), key.max()) == pytest.approx(torch.tensor(30.0).exp().item())


@every_map
@torch.no_grad()
def test_a_converted_layer_starts_with_the_keys_in_the_order_of_their_scores(feature_map):
    made = layer("hedgehog", d=32, feature_map=feature_map, trained=False)
    q, k, _ = inputs(64, d=32)
    weights = made(q, k, torch.eye(64).expand(2, 2, 64, 64))  # values that tell the keys apart
    pairs = torch.stack([weights.log().flatten(0, 2), (q @ k.mT).flatten(0, 2)], dim=1)  # of each query
    assert torch.stack([torch.corrcoef(pair)[0, 1] for pair in pairs]).mean() > 0.6


@every_map
def test_every_map_trains_towards_softmax(feature_map):
    made = layer("hedgehog", feature_map=feature_map, trained=False)
    q, k, v = inputs(32, std=1.5)
    expected = scaled_dot_product_attention(q, k, v)
    optimizer = torch.optim.Adam(made.transfer_parameters(), lr=0.05)
    errors = []
    for _ in range(60):
        error = (made(q, k, v) - expected).square().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        errors.append(error.item())
    assert min(errors[-5:]) < 0.7 * errors[0]


def test_an_unknown_map_is_refused_with_those_that_exist():
    with pytest.raises(ValidationError, match="'softmax', 'exp' or 'joint'"):
        Hedgehog.Options(feature_map="expo")
