"""A small batch that a model accepts, from its config and its forward's parameters: what its layers are found with."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from edgeattn.errors import ModelError
from edgeattn.models.positions import token_limit

_TOKENS = 128
_SAMPLES = 16000  # of a waveform: one second as speech models take it
_FRAMES = 200  # of a spectrogram
_GRID = 4  # patches along each side of an image that is given as a list of patches
_KINDS = ("input_ids", "pixel_values", "pixel_values_videos", "input_features", "input_values", "past_values")
_GRIDS = ("grid_thw", "image_grid_thw")


def example_inputs(model: PreTrainedModel, *, length: int | None = None, batch_size: int = 1) -> dict[str, Tensor]:
    """Random inputs of `model`: text, images, audio, time series, or those of them that its forward takes.

    length: tokens, or samples of a waveform; fixed by the config where it says how long inputs are.
    Raises ModelError where its inputs are none of these, or `length` is more than its positions.
    """
    config = model.config
    accepted = inspect.signature(model.forward).parameters
    required = {name for name, parameter in accepted.items() if parameter.default is inspect.Parameter.empty}
    text, vision = config.get_text_config(), _vision_config(config)
    wanted = {model.main_input_name, *required} & set(_KINDS) & set(accepted)
    if "input_ids" in accepted and (vision is not config or hasattr(config, "image_size")):
        wanted |= {"input_ids", "pixel_values"} & set(accepted)
    wanted = wanted or {name for name in _KINDS if name in accepted and name != "input_ids"}
    found: dict[str, Tensor] = {}
    if "input_ids" in wanted:
        found |= _tokens(text, token_limit(model), length, batch_size)
        if "bbox" in accepted:  # of each token, on its page
            found["bbox"] = torch.tensor([10, 20, 30, 40]).expand(*found["input_ids"].shape, 4).contiguous()
    if "pixel_values" in wanted:
        found |= _images(vision, set(accepted), batch_size)
    elif not wanted and "hidden_states" in accepted and _GRIDS[0] in accepted:
        patches = _images(config, set(accepted), batch_size)
        found |= {"hidden_states": patches.pop("pixel_values"), **patches}
    if "pixel_values_videos" in wanted:
        found["pixel_values_videos"] = _images(config, set(accepted), batch_size)["pixel_values"]
    if "input_features" in wanted:
        found["input_features"] = _spectrogram(model, batch_size)
        if "input_features_mask" in required:
            found["input_features_mask"] = torch.ones(batch_size, _FRAMES, dtype=torch.long)
    if "input_values" in wanted:
        found["input_values"] = _waveform(config, length, batch_size)
    if "past_values" in wanted:
        found |= _series(config, required, batch_size)
    found = {name: x for name, x in found.items() if name in accepted}
    if not found:
        raise ModelError(
            f"{type(model).__name__} takes {model.main_input_name!r}, which no example can be made for",
            fix="convert it from Python: edgeattn.convert.find_layers(model, inputs)",
        )
    if "qformer_input_ids" in required:
        found["qformer_input_ids"] = _tokens(config.qformer_config, None, length, batch_size)["input_ids"]
    if "pixel_values" in found and "input_ids" in found:
        found = _with_image_tokens(model, found, "pixel_values" in required)
    if "decoder_input_ids" in accepted:
        found["decoder_input_ids"] = _tokens(text, None, None, batch_size)["input_ids"][:, :16]
    return found


def _vision_config(config: Any) -> Any:
    """The part of `config` that says how large images are, or `config` itself."""
    return getattr(config, "vision_config", None) or config


def _tokens(config: Any, limit: int | None, length: int | None, batch_size: int) -> dict[str, Tensor]:
    limit = limit if limit is None or limit > 0 else None
    if limit is not None and length is not None and length > limit:
        raise ModelError(f"{length} tokens are more than the {limit} positions of the model")
    length = length or min(_TOKENS, limit or _TOKENS)
    generator = torch.Generator().manual_seed(0)
    size = max(4, getattr(config, "vocab_size", None) or _TOKENS)
    tokens = torch.randint(3, size, (batch_size, length), generator=generator)
    eos = getattr(config, "eos_token_id", None)
    if isinstance(eos, int):
        tokens[:, -1] = eos  # CLIP reads its sentence there
    return {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}


def _images(config: Any, accepted: set[str], batch_size: int) -> dict[str, Tensor]:
    channels, patch = _first(config, ("num_channels", "in_channels", "in_chans"), 3), _patch(config)
    size = _first(config, ("image_size", "crop_size"), None) or (224 if patch is None else max(224 // patch, 1) * patch)
    height, width = (size, size) if isinstance(size, int) else tuple(size)[-2:]
    grid = next((name for name in _GRIDS if name in accepted), None)
    if grid is not None and patch is not None:  # images of any size, as one list of patches (Qwen2-VL)
        values = channels * _first(config, ("temporal_patch_size", "patch_temporal"), 1) * patch**2
        sizes = torch.tensor([[1, _GRID, _GRID]] * batch_size)
        return {"pixel_values": torch.randn(batch_size * _GRID**2, values), grid: sizes}
    if "spatial_shapes" in accepted and patch is not None:  # the same, padded to a batch (SigLIP 2)
        return {
            "pixel_values": torch.randn(batch_size, _GRID**2, channels * patch**2),
            "spatial_shapes": torch.tensor([[_GRID, _GRID]] * batch_size),
            "pixel_attention_mask": torch.ones(batch_size, _GRID**2, dtype=torch.long),
        }
    several: tuple[int, ...] = ()
    if "pixel_attention_mask" in accepted and "input_ids" in accepted:  # a text has several images (Idefics 2)
        several = (1,)
    elif isinstance(frames := _first(config, ("num_frames", "frames_per_clip"), None), int):  # a video
        several = (frames,)
    return {"pixel_values": torch.randn(batch_size, *several, channels, height, width)}


def _patch(config: Any) -> int | None:
    patch = getattr(config, "patch_size", None)
    return patch if isinstance(patch, int) else None


def _with_image_tokens(model: PreTrainedModel, inputs: dict[str, Tensor], required: bool) -> dict[str, Tensor]:
    """`inputs` with as many image tokens before each text as the model makes of an image.

    Where its images need more than is known here, a model that also takes text alone is given that.
    """
    config = model.config
    token = _first(config, ("image_token_id", "image_token_index"), None)
    if token is None:
        return inputs
    tokens = torch.where(inputs["input_ids"] == token, 3, inputs["input_ids"])
    try:
        names = inspect.signature(model.get_image_features).parameters
        given = {name: x for name, x in inputs.items() if name in names and name not in ("input_ids", "attention_mask")}
        with torch.no_grad():
            count = _rows(model.get_image_features(**given)) // len(tokens)
    except (RuntimeError, LookupError, ValueError, TypeError, AttributeError):
        if required:
            return inputs
        images = {*_images(_vision_config(config), set(), 1), *_GRIDS, "spatial_shapes", "pixel_attention_mask"}
        return {name: x for name, x in inputs.items() if name not in images} | {"input_ids": tokens}
    placed = torch.full((len(tokens), count), token)
    tokens = torch.cat((tokens[:, :1], placed, tokens[:, 1:]), 1)
    found = {**inputs, "input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
    for kind in ("token_type_ids", "mm_token_type_ids"):  # which tokens are an image's
        if kind in inspect.signature(model.forward).parameters:
            found[kind] = (tokens == token).long()
    return found


def _rows(features: Any) -> int:
    """How many vectors image features have, whatever they are wrapped in."""
    features = getattr(features, "pooler_output", features)
    if isinstance(features, Tensor):
        return math.prod(features.shape[:-1])
    if isinstance(features, list | tuple):
        return sum(_rows(part) for part in features)
    raise TypeError(f"image features are of type {type(features).__name__}")


def _spectrogram(model: PreTrainedModel, batch_size: int) -> Tensor:
    config = next((part for part in _parts(model.config) if hasattr(part, "num_mel_bins")), model.config)
    bins = _first(config, ("num_mel_bins", "input_feat_per_channel", "feature_projection_input_dim", "input_dim"), 80)
    conv = next((part for part in model.modules() if isinstance(part, nn.Conv1d)), None)
    if conv is None or conv.in_channels != bins or hasattr(config, "input_feat_per_channel"):
        return torch.randn(batch_size, _FRAMES, bins)
    positions = getattr(config, "max_source_positions", None)  # Whisper's encoder halves its frames
    return torch.randn(batch_size, bins, 2 * positions if positions else _FRAMES)


def _waveform(config: Any, length: int | None, batch_size: int) -> Tensor:
    bins = getattr(config, "num_mel_bins", None)
    if bins is not None:  # AST: a spectrogram
        return torch.randn(batch_size, getattr(config, "max_length", 1024), bins)
    codec = any(hasattr(part, name) for part in _parts(config) for name in ("codebook_size", "audio_channels"))
    return torch.randn(batch_size, *((1,) if codec else ()), length or _SAMPLES)


def _series(config: Any, required: set[str], batch_size: int) -> dict[str, Tensor]:
    if "past_time_features" not in required:
        channels = getattr(config, "num_input_channels", None)
        return {"past_values": torch.randn(batch_size, config.context_length, *((channels,) if channels else ()))}
    past, future = config.context_length + max(config.lags_sequence), config.prediction_length
    return {
        "past_values": torch.randn(batch_size, past),
        "past_observed_mask": torch.ones(batch_size, past),
        "past_time_features": torch.randn(batch_size, past, config.num_time_features),
        "future_values": torch.randn(batch_size, future),
        "future_time_features": torch.randn(batch_size, future, config.num_time_features),
    }


def _parts(config: Any) -> list[Any]:
    """A config and the configs in it."""
    inner = [part for part in vars(config).values() if hasattr(part, "model_type")]
    return [config, *(found for part in inner for found in _parts(part))]


def _first(config: Any, names: tuple[str, ...], default: Any) -> Any:
    values: Mapping[str, Any] = {name: getattr(config, name, None) for name in names}
    return next((value for value in values.values() if value is not None), default)
