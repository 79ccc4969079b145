"""What the linear family shares: chunks and states against plain recurrences, weights of keys, the fused operator."""

from __future__ import annotations

import pytest
import torch

from edgeattn.attention.linear import CHUNK, FUSED, prefix_states
from tests.attention.linear_family import Graph, close, features, inputs, layer

CAUSAL = [
    ("hedgehog", {}), ("hedgehog", {"feature_map": "exp"}), ("hedgehog", {"feature_map": "joint"}),
    ("elu_linear", {}), ("luna", {}),
]  # fmt: skip
every_causal = pytest.mark.parametrize(("name", "options"), CAUSAL, ids=str)


def recurrent(q, k, v):
    """Normalised linear attention token by token, as flash-linear-attention defines it with a scale of 1.

    q, k: features [B, H, N, F]   v: [B, H, N, Dv]
    """
    state = torch.zeros(*q.shape[:2], q.shape[-1], v.shape[-1], dtype=torch.float64)
    total = torch.zeros(*q.shape[:2], q.shape[-1], dtype=torch.float64)
    out = []
    for t in range(q.shape[2]):
        state = state + torch.einsum("bhf,bhx->bhfx", k[:, :, t], v[:, :, t])
        total = total + k[:, :, t]
        mixed = torch.einsum("bhf,bhfx->bhx", q[:, :, t], state)
        out.append(mixed / torch.einsum("bhf,bhf->bh", q[:, :, t], total)[..., None])
    return torch.stack(out, dim=2)


@every_causal
@torch.no_grad()
@pytest.mark.parametrize("n", [1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 7])
def test_chunks_are_the_recurrence(name, options, n):
    made = layer(name, causal=True, **options)
    q, k, v = inputs(n, dv=5)
    query, key = (x.double() for x in features(made, q, k))
    expected = recurrent(query, key, v.double()).float()
    close(made(q, k, v), expected)
    close(made.reference(q, k, v), expected)


@every_causal
@torch.no_grad()
def test_bidirectional_is_what_the_recurrence_ends_with(name, options):
    made = layer(name, **options)
    q, k, v = inputs(70)
    query, key = (x.double() for x in features(made, q, k))
    last = query[:, :, -1:]
    expected = recurrent(last.expand_as(query), key, v.double())[:, :, -1:].float()
    close(made(q, k, v)[:, :, -1:], expected)


def test_states_before_each_chunk():
    states = torch.randn(2, 3, 5, 4, 6)
    found = prefix_states(states)
    assert torch.equal(found[:, :, 0], torch.zeros(2, 3, 4, 6))
    for chunk in range(1, 5):
        close(found[:, :, chunk], states[:, :, :chunk].sum(2))


def test_states_owe_nothing_to_later_chunks_not_even_rounding():
    states = torch.randn(1, 1, 4, 2, 2)
    later = states.clone()
    later[:, :, 2:] = 1e30
    assert torch.equal(prefix_states(later)[:, :, :3], prefix_states(states)[:, :, :3])


@torch.no_grad()
def test_a_loud_later_token_takes_nothing_from_an_earlier_one():
    """As the usual shift against overflow would: with one shift for all keys, quiet ones underflow."""
    made = layer("hedgehog", causal=True, feature_map="exp", trained=False)
    q, k, v = inputs(100)
    expected = made(q, k, v)
    k[:, :, 60:], v[:, :, 60:] = 1000.0, 1000.0
    close(made(q, k, v)[:, :, :60], expected[:, :, :60], 1e-6)


@torch.no_grad()
@pytest.mark.parametrize("name", ["hedgehog", "relu_linear", "elu_linear", "luna"])
def test_a_key_of_weight_three_is_three_keys(name):
    made = layer(name)
    q, k, v = inputs(9)
    times = torch.tensor([1, 3, 1, 1, 2, 1, 1, 1, 1])
    mask = torch.ones(2, 9, dtype=torch.bool)
    mask[1, 5:] = False
    repeated = (x.repeat_interleave(times, dim=2) for x in (k, v))
    expected = made(q, *repeated, mask.repeat_interleave(times, dim=1))
    weight = times.float().expand(2, -1)
    close(made(q, k, v, mask, weight), expected)
    close(made.reference(q, k, v, mask, weight), expected)
    close(made(q, k, v, None, weight)[0], expected[0])


@torch.no_grad()
@pytest.mark.parametrize("name", ["hedgehog", "relu_linear", "elu_linear", "luna"])
def test_left_padding_changes_nothing(name):
    for causal in (False, True) if name != "relu_linear" else (False,):
        made = layer(name, causal=causal)
        q, k, v = inputs(50)
        mask = torch.arange(60).expand(2, -1) >= 10
        padded = [torch.cat([torch.full((2, 2, 10, 8), 7.0), x], dim=2) for x in (q, k, v)]
        close(made(*padded, mask)[:, :, 10:], made(q, k, v))


@pytest.mark.parametrize(("options", "with_mask"), [({}, True), ({"feature_map": "joint"}, False)], ids=str)
def test_the_fused_operator_is_the_chunked_form(options, with_mask):
    made = layer("hedgehog", causal=True, **options)
    graph = Graph(made, key_mask=with_mask, operators={FUSED})
    assert graph.count(FUSED) == 1
    assert graph.count("CumSum") == 0
    for b, n in ((2, 1), (1, 150), (3, CHUNK)):
        q, k, v = inputs(n, b=b)
        mask = torch.arange(n).expand(b, -1) >= torch.arange(b)[:, None] if with_mask else None
        with torch.no_grad():
            expected = made(q, k, v, mask)
        close(graph(q, k, v, mask), expected, 1e-4)


@pytest.mark.parametrize("causal", [False, True], ids=["bidirectional", "causal"])
def test_a_graph_copies_no_more_than_it_must(causal):
    """Nodes of these kinds over whole sequences cost ONNX Runtime as much as the products."""
    operators = frozenset() if causal else {FUSED}  # which serves causal layers alone
    graph = Graph(layer("hedgehog", causal=causal), operators=operators)
    assert graph.count(FUSED) == 0
    assert graph.count("Cast") <= 2  # of the mask, and of the length
    assert not any(graph.count(name) for name in ("Where", "Expand", "Tile", "Gather", "ScatterND", "Einsum"))
    assert graph.count("CumSum") == (2 if causal else 0)  # one for each half of the features
