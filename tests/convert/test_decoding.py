"""Reading one token at a time gives the logits of the whole text at once."""

from __future__ import annotations

import pytest
import tiny_models
import torch

from edgeattn.attention import ATTENTION
from edgeattn.attention.dense import all_seen, dense_attention
from edgeattn.attention.variant import Variant
from edgeattn.convert import Choice, convert
from edgeattn.convert.decoding import decoding
from edgeattn.errors import ModelError

STEPPING = [name for name in ATTENTION if ATTENTION[name].causal and ATTENTION[name].step is not Variant.step]
OPTIONS = {
    "sliding_window": {"window": 4},
    "dilated_window": {"window": 4, "dilation": 3},
    "window_linear": {"window": 4},
}
MODELS = {
    "learned positions": ("gpt2", "GPT2LMHeadModel", {}),
    "rotary positions": ("llama", "LlamaForCausalLM", {}),
    "a window of its own": (
        "qwen3", "Qwen3ForCausalLM", {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 0}
    ),
}  # fmt: skip


def model_of(kind: str, *plan: str):
    name, head, options = MODELS[kind]
    model, feeds = tiny_models.make(name, layers=2, head=head, **options)
    choices = tuple(Choice(layer, each, OPTIONS.get(each, {})) for layer, each in enumerate(plan))
    return convert(model, choices, feeds)


@torch.no_grad()
def read(model, ids):
    """(logits of the whole text, logits of its tokens one by one, what is carried at the end)"""
    whole = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    state, parts = None, []
    for t in range(ids.shape[1]):
        place = torch.full((len(ids), 1), t)
        with decoding(state, place) as token:
            parts.append(model(input_ids=ids[:, t : t + 1], position_ids=place, use_cache=False).logits)
        state = token.carried
    return whole, torch.cat(parts, 1), state


@pytest.mark.parametrize("plan", [(), *((name,) for name in STEPPING), ("hedgehog", "gated_delta")], ids=str)
@pytest.mark.parametrize("kind", MODELS)
def test_tokens_one_by_one_are_the_whole_text_at_once(kind, plan):
    """With no plan all layers are dense; with one variant, the second layer is."""
    ids = torch.randint(5, tiny_models.VOCABULARY, (2, 20), generator=torch.Generator().manual_seed(3))
    whole, one_by_one, _ = read(model_of(kind, *plan), ids)
    torch.testing.assert_close(one_by_one, whole, rtol=1e-4, atol=1e-4)


def test_what_a_variant_carries_does_not_grow_and_keys_of_a_window_are_dropped():
    ids = torch.full((1, 12), 7)
    _, _, (hedgehog, dense) = read(model_of("rotary positions", "hedgehog"), ids)
    assert [x.shape for x in hedgehog] == [(1, 2, 16, 8), (1, 2, 16, 1)]
    assert [x.shape for x in dense] == [(1, 1, 12, 8)] * 2  # one key head serves both heads of queries
    _, _, windowed = read(model_of("a window of its own"), ids)
    assert {x.shape for state in windowed for x in state} == {(1, 1, 4, 8)}  # and this token's own key


@pytest.mark.parametrize("options", [{}, {"softcap": 2.0}, {"sinks": torch.tensor([0.5, -1.0])}], ids=str)
def test_a_query_that_sees_all_keys_is_dense_attention(options):
    q, k, v = (torch.randn(3, 2, n, 4) for n in (1, 9, 9))
    expected = dense_attention(q, k, v, None, 0.3, **options)
    torch.testing.assert_close(all_seen(q, k, v, 0.3, **options), expected)


def test_a_layer_with_a_bias_of_its_own_says_so():
    model = model_of("rotary positions")
    model.model.layers[0].self_attn.register_forward_pre_hook(
        lambda module, args, kwargs: (args, {**kwargs, "position_bias": torch.zeros(1, 2, 1, 1)}), with_kwargs=True
    )
    first = torch.zeros(1, 1, dtype=torch.int64)
    with pytest.raises(ModelError, match="a bias or mask of its own is added to its scores"), decoding(None, first):
        model(input_ids=first, position_ids=first)
