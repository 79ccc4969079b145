"""A tiny, seeded model of any type that transformers knows: its default config, made small by the names of its keys."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from benchmarks.architectures.timm_families import PREFIX, timm_config

WIDTH, VOCABULARY, POSITIONS, WINDOW = 64, 128, 64, 6
MAX_PARAMETERS = 50_000_000

# The first expression that a key matches says what its number is, and how large it stays where the level does not.
_SIZES: tuple[tuple[str, str, int | None], ...] = (
    (r"num_kv_shared_layers|num_nextn_predict_layers", "size", 0),
    (r"first_k_dense_replace|num_dense_layers|n_group|num_expert_group|topk_group|max_window_layers", "size", 1),
    (r"num_feat_extract_layers|vision_feature_layer|_.*|num_mel_bins|feature_size|spec_size|input_feat_size", "", None),
    (r".*_layers?|num_layers_per_stack|depth|layers|resampler_depth", "layers", None),
    (r"(.*_)?vocab_size(_.*)?|ngram_vocab_size_base|position_embedding_size", "size", VOCABULARY),
    (r"max_position_embeddings|n_positions|max_(source|target)_positions|n_ctx|max_seq_len|max_2d_position_embeddings"
     r"|t2u_max_position_embeddings|original_max_position_embeddings|model_max_length|max_seq_length|seq_length"
     r"|max_text_len|max_trained_seqlen|max_relative_positions|max_position", "size", POSITIONS),
    (r"(.*_)?(num_)?(key_value|kv)_heads|n_head_kv|linear_num_key_heads", "kv_heads", None),
    (r"qk_rope_head_dim|rotary_dim", "head_dim", 8),
    (r"qk_head_dim", "head_dim", 24),
    (r"coordinate_size", "head_dim", 12),  # four of them and two shapes make the width
    (r"shape_size", "head_dim", 8),
    (r"mamba_d_head|mamba_headdim|mamba_head_dim", "head_dim", 32),  # twice the width, divided by the heads
    (r"(.*_)?head_dim|d_kv|d_head|dim_head|head_size|query_pre_attn_scalar|(.*_)?lora_rank|(.*_)?d_state"
     r"|(.*_)?state_size|time_step_rank|laurel_rank", "head_dim", 16),
    (r"(.*_)?heads?", "heads", None),
    (r"(.*_)?experts", "size", 4),
    (r"num_experts_per_tok(en)?|moe_topk|moe_k|top_k_experts", "size", 2),
    (r"(.*_)?window(_size|_len)?|local_attention|sliding_window_size|(.*_)?attention_chunk_size|local_radius",
     "size", WINDOW),
    (r"context_size", "size", 16),
    (r"max_length", "size", 64),  # of AST's spectrograms
    (r"frames_per_clip|num_frames", "size", 4),
    (r"(mamba_)?n_?groups", "size", 2),
    (r"chunk_size|mamba_chunk_size|index_topk|block_size|index_block_size", "size", 8),
    (r"(.*_)?(num_)?(object_)?quer(ies|y_tokens)|num_denoising|two_stage_num_proposals|num_latents", "size", 8),
    (r"(num|default_num)_position_embeddings", "size", 16),
    (r"(.*_)?(hidden_size|intermediate_size|embed_dim|hidden_dim|ffn_dim|d_model|d_ff|d_inner|n_embd|n_inner"
     r"|embedding_size|projection_dim|projection_size|mlp_dim|width|emb_dim|embedding_dim|linear_units|output_dim"
     r"|projector_dim|decoder_dim|dim_feedforward|proj_dim|d_embed|dim_model|dim_ff|inner_dim|units|ffn_dimension"
     r"|channels|pooler_output_size|encoder_dim)(_.*)?|dim|hidden|conv_dim|model_dim", "width", None),
)  # fmt: skip
_OPEN = {"head_dim": 16, "num_key_value_heads": 4, "layer_types": None, "prediction_length": 8, "n_routed_experts": 4,
         "num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 64, "num_experts_per_tok": 2}  # fmt: skip
_KEPT = r"num_channels|audio_channels|in_channels|out_channels|.*subsampling_conv_channels|mask_input_channels|channels"
_TOKEN = re.compile(r".*_(token|tok)_?(id|index|idx)|.*_token_ids?|image_token_index|(pad|bos|eos|unk|mask)_index")
Changed = dict[str, Any]


class NotBuildable(Exception):
    """No tiny model is made at this level; the message says why, and is empty where another level does the same."""


@dataclass(frozen=True)
class Level:
    """How small a config is made, from all that is known to the number of layers alone."""

    width: int | None = None  # of hidden states; None: as it is
    heads: int | None = None
    head_dim: int | None = None
    sizes: bool = False  # of windows, experts, positions and vocabularies
    images: bool = False
    fill: bool = False  # numbers that the default config leaves open, which some models need


LEVELS = (
    Level(64, 4, 16, sizes=True, images=True),
    Level(64, 4, 16, sizes=True, images=True, fill=True),
    Level(),  # fits where sizes depend on one another in ways that no name tells
    Level(256, 2, None, sizes=True, images=True),  # rotary dimensions are divided by constants in some models
    Level(sizes=True, images=True),
    Level(sizes=True),
)


def small_config(model_type: str, level: int = 0) -> PreTrainedConfig:
    """The default config of `model_type` made small."""
    if model_type.startswith(PREFIX):
        if level:
            raise NotBuildable("")
        return timm_config(model_type)
    kind: Any = CONFIG_MAPPING[model_type]
    document = kind().to_dict()
    changed = _changed(document, _shrink(document, LEVELS[level], {}))
    if LEVELS[level].fill and changed == _changed(document, _shrink(document, LEVELS[0], {})):
        raise NotBuildable("")
    config: PreTrainedConfig = kind(**changed)
    return config


def _changed(before: Changed, after: Changed) -> Changed:
    """What to construct the config with: a value that follows from others is left to its class."""
    found: Changed = {}
    for key, value in after.items():
        if value == before.get(key):
            continue
        inner = isinstance(value, dict) and isinstance(before.get(key), dict) and "model_type" in value
        found[key] = {**_changed(before[key], value), "model_type": value["model_type"]} if inner else value
    return found


def _shrink(document: Changed, level: Level, tokens: dict[int, int]) -> Changed:
    found: Changed = {}
    stages = _has_list(document, "depths|.*_per_stage")
    layers = 0 if stages else _number_of_layers(document)
    chosen = _chosen_layers(document, layers) if layers else []
    for key, value in document.items():
        if key in ("out_features", "stage_names") and layers:
            continue  # they name layers that are gone
        if key == "per_layer_config" and isinstance(value, dict):
            kept = {index: str(place) for place, index in enumerate(chosen)}
            inner = {kept[int(index)]: item for index, item in value.items() if int(index) in kept}
            found[key] = {index: _shrink(item, level, tokens) for index, item in inner.items()}
        elif isinstance(value, dict):
            found[key] = _shrink(value, level, tokens)
        elif isinstance(value, list | tuple):
            if value and all(isinstance(item, dict) for item in value):
                found[key] = [_shrink(item, level, tokens) for item in value]
            else:
                found[key] = _shrunk_list(key, list(value), level, layers, chosen)
        elif value is None and level.fill and key in _OPEN:
            found[key] = ["full_attention"] * len(chosen) if key == "layer_types" else _OPEN[key]
        elif isinstance(value, int) and not isinstance(value, bool):
            found[key] = _shrunk_number(key, value, level, tokens, document, len(chosen))
        else:
            found[key] = value
    if document.get("head_dim") and document.get("head_dim") == document.get("qk_rope_head_dim"):
        found["head_dim"] = found["qk_rope_head_dim"]
    elif level.head_dim and "expand" in document and "head_dim" in document:  # Mamba 2: heads make the expanded width
        found["head_dim"] = 2 * level.head_dim
    if level.fill and isinstance(rope := found.get("rope_parameters"), dict) and "rope_theta" in rope:
        half = rope.get("partial_rotary_factor", 1.0) == 0.5
        found["rope_parameters"] = {**rope, "mrope_section": [1, 1, 2] if half else [2, 3, 3]}
    if level.images:
        _shrink_image(found)
    return found


def _has_list(document: Changed, keys: str) -> bool:
    return any(isinstance(value, list | tuple) and re.fullmatch(keys, key) for key, value in document.items())


def _number_of_layers(document: Changed) -> int:
    for key in ("num_hidden_layers", "num_layers", "n_layers", "n_layer", "depth", "encoder_layers"):
        if isinstance(document.get(key), int):
            return int(document[key])
    return 0


def _chosen_layers(document: Changed, layers: int) -> list[int]:
    """Which layers remain: two, or one of each kind where the config has a list of more kinds."""
    lists = [v for k, v in document.items() if re.search("layer.*types?$|^block_types$", k) and isinstance(v, list)]
    kinds = next((found for found in lists if len(found) == layers or "block_types" in document), None)
    if not kinds:
        return list(range(min(2, layers)))
    first = sorted({kinds.index(kind) for kind in kinds})
    return list(range(len(kinds))) if "block_types" in document else _two(first, layers)


def _two(first: list[int], layers: int) -> list[int]:
    return first if len(first) > 1 else [*first, *range(1, min(2, layers))]


def _shrunk_list(key: str, value: list[Any], level: Level, layers: int, chosen: list[int]) -> list[Any]:
    if layers > 2 and len(value) == layers:  # one entry per layer
        return [value[index] for index in chosen]
    if not value or not all(isinstance(item, int) and not isinstance(item, bool) for item in value):
        return value
    if level.sizes and re.fullmatch(
        r"depths|.*num_blocks|blocks_per_stage|stage_numb_of_layers|layers|depth|num_block_repeats", key
    ):
        return [min(2, value[0]), *(min(1, item) for item in value[1:])]
    if re.search(
        r"ind(ex|ice)e?s|layer_ids|_idx|layers?_.*ids|global_attention_blocks|attn_layer|feature_layers?$", key
    ):
        last = len(chosen) - (0 if key == "out_indices" else 1)
        return sorted({min(item, last) for item in value}) if chosen and max(value) > last else value
    if "mrope_section" in key and level.head_dim:
        return [2, 3, 3] if len(value) == 3 else value
    widths = re.search(r"(hidden_size|embed_dim|hidden_dim|dim)s?(_per_stage)?$|channel_list|widths", key)
    if level.head_dim and widths and all(item % 32 == 0 for item in value) and max(value) > WIDTH:
        return [item // 4 for item in value]
    return value


def _shrunk_number(key: str, value: int, level: Level, tokens: dict[int, int], document: Changed, layers: int) -> int:
    if _TOKEN.fullmatch(key):
        small = value < VOCABULARY - 28 or not level.sizes
        return value if small else tokens.setdefault(value, VOCABULARY - 1 - len(tokens))
    if re.fullmatch(_KEPT, key):
        return value
    stages = _has_list(document, "num_heads|num_attention_heads|depths|.*_per_stage")
    for pattern, kind, size in _SIZES:
        if not re.fullmatch(pattern, key):
            continue
        if kind == "layers":
            main = key in ("num_hidden_layers", "num_layers", "n_layers", "n_layer", "depth")
            return value if stages else min(value, max(2, layers) if main else 2)
        if kind == "width" and stages:  # divided as the list of stages is
            return value // 4 if level.head_dim and value % 32 == 0 else value
        if kind == "kv_heads":
            names = (key.replace("key_value", "attention"), "num_attention_heads", "n_head", "num_heads")
            several = any(document.get(name) == value for name in names)
            limit = level.heads if several or level.heads is None else level.heads // 2
        elif kind in ("width", "heads", "head_dim"):
            limit = getattr(level, kind)
            limit = limit if limit is None or kind != "head_dim" else limit * (size or 1) // 16
        else:
            limit = size if level.sizes else None
            if size == WINDOW and limit and (stages or "spatial_merge_size" in document):
                limit = 2 if stages else None  # it divides the image; others count pixels
        return value if limit is None else min(value, limit)
    return value


def _shrink_image(document: Changed) -> None:
    patch = document.get("patch_size")
    if isinstance(patch, list | tuple):
        patch = max(patch) if patch else None
    stages = len(document.get("depths") or document.get("hidden_sizes") or ())
    for key in ("image_size", "img_size", "pretrain_image_size", "crop_size"):
        value = document.get(key)
        if isinstance(value, int) and value and not (stages and (patch or 4) >= 8):
            document[key] = min(value, (patch or 4) * 2 ** max(stages, 2))
        elif isinstance(value, list | tuple) and value and isinstance(patch, int) and isinstance(value[0], int):
            document[key] = [min(x, 4 * patch) for x in value]


def build(model_type: str, *, level: int, seed: int = 0) -> PreTrainedModel:
    """The model in evaluation mode with eager attention. Raises NotBuildable where it would be large."""
    config = small_config(model_type, level)
    _quiet(config)
    try:
        with torch.device("meta"):
            size = sum(parameter.numel() for parameter in AutoModel.from_config(config).parameters())
    except Exception:  # noqa: BLE001 (some models compute while they are made, which meta tensors cannot)
        size = 0
    if size > MAX_PARAMETERS:
        raise NotBuildable(f"{size / 1e6:.0f} million parameters after shrinking")
    torch.manual_seed(seed)
    model = AutoModel.from_config(config, attn_implementation="eager", dtype=torch.float32).eval()
    seed_weights(model, seed)
    return model  # type: ignore[no-any-return]


def _quiet(config: Any) -> None:
    """No layers dropped, and no cache: a single pass needs none, and a graph has none."""
    for key, value in (
        ("layerdrop", 0.0),
        ("encoder_layerdrop", 0.0),
        ("decoder_layerdrop", 0.0),
        ("use_cache", False),
    ):
        if hasattr(config, key):
            setattr(config, key, value)
    for part in vars(config).values():
        if isinstance(part, PreTrainedConfig):
            _quiet(part)


def seed_weights(model: nn.Module, seed: int) -> None:
    """Weights under which attention is neither flat nor a single key: what a model computes shows in its output."""
    generator = torch.Generator().manual_seed(seed)

    def normal(x: torch.Tensor, std: float) -> None:
        x.copy_(torch.randn(x.shape, generator=generator) * std)

    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.is_floating_point() or not parameter.numel():
                continue
            if parameter.ndim > 1:
                normal(parameter, 1.2 / math.sqrt(_fan_in(parameter)))
            elif bool((parameter == parameter.flatten()[0]).all()):
                value = float(parameter.flatten()[0])
                if value == 0:  # biases, and gates that hide a branch
                    normal(parameter, 0.2)
                elif abs(value) <= 0.1:  # layer scales
                    parameter.fill_(1.0)


def _fan_in(parameter: torch.Tensor) -> int:
    return max(1, parameter[0].numel())
