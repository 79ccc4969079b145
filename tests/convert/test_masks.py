"""Attention masks: what models make of them themselves, and what is refused rather than left out without a word."""

from __future__ import annotations

import pytest
import tiny_models
import torch
import transformers
from torch.nn.functional import pad
from transformers.masking_utils import (
    and_masks,
    bidirectional_mask_function,
    causal_mask_function,
    chunked_causal_mask_function,
    or_masks,
    sliding_window_bidirectional_mask_function,
    sliding_window_causal_mask_function,
)

from edgeattn.attention import ATTENTION
from edgeattn.convert import Choice, convert, find_layers, fitting, survey
from edgeattn.convert.mask_functions import pattern
from edgeattn.errors import ModelError

HEDGEHOG = Choice(0, "hedgehog", {"feature_dim": 4})
LOWEST = torch.finfo(torch.float32).min


def hidden(model, feeds, **more):
    with torch.no_grad():
        return tiny_models.real(model(**feeds, **more).last_hidden_state, feeds)


def close(a, b, tolerance=1e-5):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def four_axes(mask, kind):
    """A key padding mask [B, N] as models make N x N ones of it."""
    seen = mask.bool()[:, None, None, :]
    if kind != "row":
        seen = seen.expand(-1, 1, mask.shape[1], -1)
    if kind == "causal":
        seen = seen & torch.ones(mask.shape[1], mask.shape[1], dtype=torch.bool).tril()
    return seen if kind == "bool" else torch.where(seen, 0.0, -1e4 if kind == "half" else LOWEST)


# --- masks with four axes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["row", "bool", "float", "half"])
@pytest.mark.parametrize("side", ["right", "left"])
def test_padding_in_a_mask_with_four_axes_is_padding(kind, side):
    model, feeds = tiny_models.make("bert", 2)
    if side == "left":
        feeds = {key: x.flip(1) for key, x in feeds.items()}
    convert(model, (HEDGEHOG,), feeds)
    expected = hidden(model, feeds)
    with torch.no_grad():
        out = model(feeds["input_ids"], attention_mask=four_axes(feeds["attention_mask"], kind)).last_hidden_state
    close(tiny_models.real(out, feeds), expected)


def test_a_causal_mask_with_four_axes_makes_the_layer_causal():
    model, feeds = tiny_models.make("bert", 2)
    ids, mask = feeds["input_ids"], four_axes(feeds["attention_mask"], "causal")
    model.set_attn_implementation("sdpa")
    with torch.no_grad():
        expected = model(ids, attention_mask=mask).last_hidden_state
    ready = {"input_ids": ids, "attention_mask": mask}
    assert [layer.shape.causal for layer in find_layers(model, ready)] == [True, True]
    with torch.no_grad():
        close(*(tiny_models.real(x, feeds) for x in (model(**ready).last_hidden_state, expected)))


def test_any_other_mask_is_computed_by_dense_layers_and_refused_by_variants():
    model, feeds = tiny_models.make("bert", 2)
    generator = torch.Generator().manual_seed(2)
    seen = (torch.rand(3, 1, 24, 24, generator=generator) > 0.5) | torch.eye(24, dtype=torch.bool)
    odd = {"input_ids": feeds["input_ids"], "attention_mask": seen}
    model.set_attn_implementation("sdpa")
    with torch.no_grad():
        expected = model(**odd).last_hidden_state
    assert [layer.bias for layer in find_layers(model, odd)] == [True, True]
    with torch.no_grad():
        close(model(**odd).last_hidden_state, expected)
    with pytest.raises(ModelError, match=r"^layer 0 \(.*\): hedgehog cannot add this layer's bias .* or mask of it"):
        convert(model, (HEDGEHOG,), odd)
    convert(model, (HEDGEHOG,), feeds)
    with pytest.raises(ModelError, match=r"^layer 0 \(encoder.layer.0.attention.self\): hedgehog cannot add the b"):
        model(**odd)


def packed(lengths, dtype=torch.bool):
    """The block-diagonal mask [1, 1, N, N] of several texts in one row."""
    seen = torch.block_diag(*(torch.ones(n, n) for n in lengths)).bool()[None, None]
    return seen if dtype == torch.bool else torch.where(seen, 0.0, torch.finfo(dtype).min)


@pytest.mark.parametrize("dtype", [torch.bool, torch.float32])
def test_a_packed_mask_is_no_padding(dtype):
    """Its last row alone looks like the padding of all texts but the last."""
    model, feeds = tiny_models.make("bert", 2)
    ids = feeds["input_ids"][:1]
    ready = {"input_ids": ids, "attention_mask": packed((10, 14), dtype)}
    model.set_attn_implementation("eager")
    with torch.no_grad():
        expected = model(ids, attention_mask=packed((10, 14), torch.float32)).last_hidden_state
    assert [layer.bias for layer in find_layers(model, ready)] == [True, True]
    with torch.no_grad():
        close(model(**ready).last_hidden_state, expected)
    convert(model, (HEDGEHOG,), feeds)
    with pytest.raises(ModelError, match=r"hedgehog cannot add the bias or mask that this layer was given"):
        model(**ready)


def test_a_packed_mask_of_a_plain_transformer_is_no_padding():
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(16, 2, 24, dropout=0.0, batch_first=True).eval()
    x, mask = torch.randn(2, 24, 16), ~packed((10, 14))[0, 0]
    with torch.no_grad():
        expected = layer(x, src_mask=mask)
        find_layers(layer, {"src": x, "src_mask": mask})
        close(layer(x, src_mask=mask), expected)


def test_images_of_several_sizes_in_one_sequence_do_not_see_one_another():
    config = transformers.PixtralVisionConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, image_size=16, patch_size=4,
        initializer_range=0.4,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.PixtralVisionModel(config).eval()
    feeds = {"pixel_values": torch.rand(2, 3, 16, 16), "image_sizes": torch.tensor([[16, 16], [8, 12]])}
    model.set_attn_implementation("eager")
    with torch.no_grad():
        expected = model(**feeds).last_hidden_state
    assert [layer.bias for layer in find_layers(model, feeds)] == [True, True]
    with torch.no_grad():
        close(model(**feeds).last_hidden_state, expected)


def test_a_bias_that_a_model_hands_over_as_its_mask_stays_one():
    """Swin adds relative positions to its mask; a window of it has as many rows as the batch times the windows."""
    config = transformers.SwinConfig(
        image_size=16, patch_size=2, embed_dim=8, depths=[2], num_heads=[2], window_size=4, drop_path_rate=0.0
    )
    torch.manual_seed(0)
    model = transformers.SwinModel(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    feeds = {"pixel_values": torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))}
    model.set_attn_implementation("eager")
    expected = hidden(model, feeds)
    assert [layer.bias for layer in find_layers(model, feeds)] == [True, True]
    close(hidden(model, feeds), expected)


def test_a_mask_with_three_axes_is_refused():
    model, feeds = tiny_models.make("vit", 1)
    attention = model.vit.layers[0].attention
    odd = torch.ones(3, 17, 17)
    attention.register_forward_pre_hook(lambda module, args, kwargs: ((args[0], odd), {}), with_kwargs=True)
    with pytest.raises(
        ModelError, match=r"^vit.layers.0.attention: ViTAttention gives its attention a mask with 3 axes"
    ):
        find_layers(model, feeds)


# --- masks that transformers would make ---------------------------------------------------------------------


def test_packed_sequences_are_refused():
    model, feeds = tiny_models.make("llama", 1)
    find_layers(model, feeds)
    places = torch.cat([torch.arange(10), torch.arange(14)])[None]
    with pytest.raises(ModelError, match=r"^its attention mask is made by packed_sequence_mask_function and remap_pos"):
        model(input_ids=feeds["input_ids"][:1], position_ids=places, use_cache=False)


def mixed(name, **options):
    """A model of windowed and full layers, and its own hidden states under an integer mask."""
    kind = getattr(transformers, f"{name}Config")
    config = kind(
        vocab_size=48, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, head_dim=8,
        intermediate_size=24, pad_token_id=0, initializer_range=0.4, layer_types=["sliding_attention",
        "full_attention"], **options,
    )  # fmt: skip
    torch.manual_seed(0)
    model, feeds = getattr(transformers, f"{name}Model")(config).eval(), tiny_models.feeds("llama")
    model.set_attn_implementation("eager")
    return model, feeds, hidden(model, feeds)


QWEN2_MOE = {"moe_intermediate_size": 8, "shared_expert_intermediate_size": 8, "num_experts": 2,
             "num_experts_per_tok": 1, "use_sliding_window": True, "sliding_window": 4}  # fmt: skip


@pytest.mark.parametrize("order", ["integers", "booleans", "booleans then integers", "none then integers"])
@pytest.mark.parametrize(
    ("name", "options"),
    [("Qwen2Moe", QWEN2_MOE), ("Gemma3Text", {"sliding_window": 4}), ("ModernBertDecoder", {"local_attention": 8})],
)
def test_windows_and_full_layers_of_one_model_stay_apart(name, options, order):
    """Their masks are made of one padding mask, and some layers leave their window to the mask (Qwen2-MoE)."""
    if name == "ModernBertDecoder":
        options = {**options, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}
    model, feeds, expected = mixed(name, **options)
    booleans = {**feeds, "attention_mask": feeds["attention_mask"].bool()}
    looked = {"integers": feeds, "none then integers": {"input_ids": feeds["input_ids"]}}.get(order, booleans)
    windows = [layer.window for layer in find_layers(model, looked)]
    assert windows[0] is not None
    assert windows[1] is None
    close(hidden(model, booleans if order == "booleans" else feeds), expected)


@pytest.mark.parametrize(
    ("function", "found"),
    [
        (causal_mask_function, (True, None)),
        (bidirectional_mask_function, (False, None)),
        (sliding_window_causal_mask_function(7), (True, 7)),
        (sliding_window_bidirectional_mask_function(7), (False, 8)),
        # EmbeddingGemma's: what is causal, or anything; and what is in a causal window, or in one on both sides.
        (or_masks(causal_mask_function, lambda *_: torch.tensor(True)), (False, None)),
        (or_masks(sliding_window_causal_mask_function(4), lambda b, h, q, k: (q - k).abs() < 4), (False, 4)),
        (and_masks(lambda b, h, q, k: q - k < 5, causal_mask_function), (True, 5)),
    ],
)
def test_a_mask_function_is_read_by_what_it_computes(function, found):
    assert pattern(function) == found


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (chunked_causal_mask_function(8, torch.zeros(1, dtype=torch.long)), "chunked_overlay and causal_mask_function"),
        (lambda b, h, q, k: (q - k) % 2 == 0, "<lambda>|test_masks"),
        (lambda b, h, q, k: (k <= q) & (k > 0), "<lambda>|test_masks"),
    ],
)
def test_a_mask_function_that_is_more_is_refused(function, name):
    with pytest.raises(ModelError, match=rf"^its attention mask is made by ({name}), which is more than causality"):
        pattern(function)


def test_a_model_that_attends_to_both_sides_by_its_config_is_seen_to():
    """EmbeddingGemma: its layers call themselves causal or windowed, and only the mask tells otherwise."""
    model, feeds, expected = mixed("Gemma3Text", sliding_window=4, use_bidirectional_attention=True)
    for given in (feeds, {"input_ids": feeds["input_ids"][:1]}):
        model.set_attn_implementation("eager")
        expected = hidden(model, given) if "attention_mask" in given else model(**given).last_hidden_state
        assert [(layer.shape.causal, layer.window) for layer in find_layers(model, given)] == [
            (False, 3),
            (False, None),
        ]
        close(hidden(model, given) if "attention_mask" in given else model(**given).last_hidden_state, expected)


# --- cross-attention ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [12, 5])  # the encoder has 12 places
def test_cross_attention_is_seen_at_equal_lengths_too(length):
    model, _ = tiny_models.make("whisper", 1)
    layers = find_layers(model, tiny_models.feeds("whisper", (length, 3)))
    assert [(layer.name, layer.cross, layer.shape.causal) for layer in layers] == [
        ("encoder.layers.0.self_attn", False, False),
        ("decoder.layers.0.self_attn", False, True),
        ("decoder.layers.0.encoder_attn", True, False),
    ]


@pytest.mark.parametrize("kind", [transformers.BertModel, transformers.GPT2Model])
def test_cross_attention_of_a_decoder_that_was_an_encoder_is_seen(kind):
    name = "bert" if kind is transformers.BertModel else "gpt2"
    options = {"is_decoder": True} if name == "bert" else {}
    model, feeds = tiny_models.make(name, 1, add_cross_attention=True, **options)
    memory = torch.rand(3, 24, 16, generator=torch.Generator().manual_seed(1))
    feeds = {**feeds, "encoder_hidden_states": memory, "encoder_attention_mask": feeds["attention_mask"]}
    model.set_attn_implementation("eager")
    expected = hidden(model, feeds)
    assert [(layer.cross, layer.shape.causal) for layer in find_layers(model, feeds)] == [(False, True), (True, False)]
    close(hidden(model, feeds), expected)


# --- what a variant cannot do -------------------------------------------------------------------------------


def layer_of(name, index, layers=1):
    model, feeds = tiny_models.make(name, layers)
    return model, feeds, find_layers(model, feeds)[index]


@pytest.mark.parametrize(
    ("model", "index", "fact"),
    [
        ("whisper", 2, "{} cannot replace cross-attention"),
        ("llama", 0, "{} is bidirectional, and this layer is causal"),
        ("t5", 0, "{} cannot add this layer's bias of relative positions or mask of its own"),
    ],
)
def test_a_variant_that_cannot_says_which_layer_and_which_can(model, index, fact):
    model, feeds, layer = layer_of(model, index)
    able = fitting(layer)
    unable = [name for name in ATTENTION if name != "dense" and name not in able]
    assert unable
    for name in unable:
        with pytest.raises(ModelError) as caught:
            convert(model, (Choice(index, name, {}),), feeds)
        assert caught.value.fact == fact.format(name)
        assert caught.value.where == f"layer {index} ({layer.name})"
        expected = f"use {', '.join(able)}, or leave this layer dense" if able else "leave this layer dense"
        assert caught.value.fix == expected


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        (
            "Bloom",
            {"n_head": 2},
            r"BloomAttention \(h.0.self_attention\) adds ALiBi, a bias by distance, to its scores",
        ),
        ("Falcon", {"alibi": False}, r"FalconAttention \(h.0.self_attention\) computes its scores itself"),
        ("MPNet", {}, r"MPNetSelfAttention \(encoder.layer.0.attention.attn\) adds relative positions to its scores"),
        (
            "DebertaV2",
            {"relative_attention": True, "pos_att_type": ["c2p"]},
            r"DisentangledSelfAttention \(encoder.layer.0.attention.self\) attends by content and by relative position",
        ),
        (
            "Canine",
            {},
            r"CanineSelfAttention \(initial_char_encoder.layer.0.attention.self and 2 more\) computes its scores",
        ),
    ],
)
def test_a_model_without_layers_is_told_why_by_class(name, options, reason):
    width = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 24}
    config = getattr(transformers, f"{name}Config")(**width, **options)
    model = getattr(transformers, f"{name}Model")(config).eval()
    feeds = {"input_ids": torch.arange(5, 13)[None], "attention_mask": torch.ones(1, 8, dtype=torch.long)}
    message = rf"^{name}Model has no attention that edgeattn can replace: {reason}"
    with pytest.raises(ModelError, match=message) as caught:
        find_layers(model, feeds)
    assert "ALiBi" not in caught.value.fix
    assert ("ALiBi" in caught.value.fact) == (name == "Bloom")


def big_bird(blocks):
    config = transformers.BigBirdPegasusConfig(
        vocab_size=48, d_model=16, encoder_layers=2, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=24, decoder_ffn_dim=24, block_size=blocks, num_random_blocks=1,
        max_position_embeddings=64,
    )  # fmt: skip
    torch.manual_seed(0)
    ids = torch.arange(4, 36)[None]
    feeds = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "decoder_input_ids": ids[:, :8]}
    return transformers.BigBirdPegasusModel(config).eval(), feeds


def test_sparse_attention_that_cannot_be_replaced_is_said(caplog):
    """BigBird's encoder attends by blocks of its own; its decoder can be converted."""
    model, feeds = big_bird(blocks=2)
    found = survey(model, feeds)
    assert [layer.name for layer in found.layers] == ["decoder.layers.0.self_attn", "decoder.layers.0.encoder_attn"]
    assert [each.name for each in found.left_out] == [f"encoder.layers.{i}.self_attn.self" for i in range(2)]
    for _ in range(2):  # said once
        convert(model, (), feeds)
    said = [record.getMessage() for record in caplog.records if record.name == "edgeattn"]
    assert said == [
        "BigBirdPegasusModel: 2 attention modules cannot be replaced and stay as they are: "
        "BigBirdPegasusBlockSparseAttention (encoder.layers.0.self_attn.self and 1 more) attends sparsely, by blocks "
        "of its own"
    ]


def test_a_model_that_computes_with_its_mask_is_refused():
    config = transformers.DogeConfig(
        vocab_size=48, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1,
        intermediate_size=24, pad_token_id=0,
    )  # fmt: skip
    with pytest.raises(
        ModelError,
        match=r"^layers.0.self_attn: DogeAttention computes with the attention mask by itself",
    ):
        find_layers(transformers.DogeModel(config).eval(), tiny_models.feeds("llama"))


def test_attention_that_would_add_a_key_mask_to_its_scores_is_refused():
    """On a text shorter than its blocks BigBird adds the mask: [1, N] fits, and would hide nothing."""
    model, feeds = big_bird(blocks=16)
    one = {key: x[:1, :8] for key, x in feeds.items()}
    with pytest.raises(
        ModelError,
        match=r"^encoder.layers.0.self_attn: BigBirdPegasusEncoderAttention computes with the attention mask by itself",
    ):
        find_layers(model, one)


def test_a_models_own_use_of_the_padding_mask_is_no_fault():
    """OLMo's hybrid: its recurrent layers read the padding mask as they were given it."""
    config = transformers.OlmoHybridConfig(
        vocab_size=48, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        intermediate_size=24, layer_types=["linear_attention", "full_attention"], linear_num_key_heads=2,
        linear_num_value_heads=2, linear_key_head_dim=8, linear_value_head_dim=8, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    model, feeds = transformers.OlmoHybridModel(config).eval(), tiny_models.feeds("llama")
    booleans = {**feeds, "attention_mask": feeds["attention_mask"].bool()}
    for given in (feeds, booleans):
        found = survey(model, given)
        assert [layer.name for layer in found.layers] == ["layers.1.self_attn"]
        assert len(found.left_out) == 1


def test_a_causal_layer_without_any_mask_sees_everything_as_it_does_by_itself():
    """AIMv2's text model makes its causal mask only where it is given one for padding."""
    config = transformers.Aimv2TextConfig(
        vocab_size=48, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
        eos_token_id=2, max_position_embeddings=32, initializer_range=0.4,
    )  # fmt: skip
    torch.manual_seed(0)
    model, feeds = transformers.Aimv2TextModel(config).eval(), tiny_models.feeds("llama")
    bare = {"input_ids": feeds["input_ids"][:1]}
    model.set_attn_implementation("eager")
    with torch.no_grad():
        expected = hidden(model, feeds), model(**bare).last_hidden_state
        assert [layer.shape.causal for layer in find_layers(model, bare)] == [False, False]
        assert [layer.shape.causal for layer in find_layers(model, feeds)] == [True, True]
        close(hidden(model, feeds), expected[0])
        close(model(**bare).last_hidden_state, expected[1])
    convert(model, (HEDGEHOG,), feeds)
    with pytest.raises(
        ModelError, match=r"hedgehog was put into a layer that was causal, and this call is bidirection"
    ):
        model(**bare)


# --- key-value caches ---------------------------------------------------------------------------------------


def causal_lm(**options):
    torch.manual_seed(3)
    config = tiny_models.config("qwen3", 2, initializer_range=1.0, **options)
    feeds = {key: x.flip(1) for key, x in tiny_models.feeds("qwen3").items()}  # generation pads on the left
    return transformers.Qwen3ForCausalLM(config).eval(), feeds


def generate(model, feeds, **options):
    with torch.no_grad():
        return model.generate(**feeds, max_new_tokens=6, min_new_tokens=6, do_sample=False, **options)


SLIDING = {"use_sliding_window": True, "sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"]}


@pytest.mark.parametrize("options", [{}, SLIDING], ids=["full", "sliding"])
def test_dense_layers_generate_what_they_did(options):
    model, feeds = causal_lm(**options)
    model.set_attn_implementation("eager")
    expected = generate(model, feeds)
    find_layers(model, feeds)
    assert torch.equal(generate(model, feeds), expected)


@pytest.mark.parametrize("variant", [name for name in ATTENTION if ATTENTION[name].causal])
def test_generation_with_a_cache_is_that_without(variant):
    model, feeds = causal_lm()
    convert(model, (Choice(0, variant, {}),), feeds)
    cached, whole = (generate(model, feeds, use_cache=cache) for cache in (True, False))
    assert torch.equal(cached, whole)
    assert len(set(cached[0, -6:].tolist())) > 1


def test_a_cache_that_drops_tokens_is_refused_where_a_variant_needs_them():
    model, feeds = causal_lm(**SLIDING)
    convert(model, (HEDGEHOG,), feeds)
    assert generate(model, feeds, use_cache=False).shape == (3, 30)
    message = r"^layer 0 \(model.layers.0.self_attn\): its key-value cache keeps only the last 4 tokens, and hedgehog"
    with pytest.raises(ModelError, match=message):
        generate(model, feeds)


def test_a_cache_of_fixed_size_is_refused():
    model, feeds = causal_lm()
    find_layers(model, feeds)
    with pytest.raises(ModelError, match=r"^a key-value cache of \d+ places holds \d+ tokens, and edgeattn needs one"):
        generate(model, feeds, cache_implementation="static")


def test_a_layer_that_was_causal_and_is_not_any_more_is_told_so():
    model, feeds = tiny_models.make("llama", 1)
    convert(model, (HEDGEHOG,), feeds)
    ready = {"input_ids": feeds["input_ids"], "attention_mask": four_axes(feeds["attention_mask"], "bool")}
    with pytest.raises(
        ModelError, match=r"^layer 0 \(layers.0.self_attn\): hedgehog was put into a layer that was caus"
    ):
        model(**ready, use_cache=False)


def test_padding_on_the_left_of_a_converted_decoder_changes_nothing():
    model, feeds = tiny_models.make("llama", 2)
    convert(model, (HEDGEHOG,), feeds)
    one = {key: x[1:2, :9] for key, x in feeds.items()}
    left = {key: pad(x, (7, 0)) for key, x in one.items()}
    with torch.no_grad():
        alone = model(**one, use_cache=False).last_hidden_state
        places = (left["attention_mask"].cumsum(1) - 1).clamp_min(0)
        padded = model(**left, position_ids=places, use_cache=False).last_hidden_state
    close(padded[:, 7:], alone)
