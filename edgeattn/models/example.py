"""A small batch that a model accepts, from its config alone: what its layers are found with."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from edgeattn.errors import ModelError
from edgeattn.models.positions import token_limit

_TOKENS = 128
_SAMPLES = 16000  # of a waveform: one second as speech models take it


def example_inputs(model: PreTrainedModel, *, length: int | None = None, batch_size: int = 1) -> dict[str, Tensor]:
    """Inputs of `model` without meaning: text, image, audio, time series, or what of these its forward takes.

    length: tokens, or samples of a waveform; fixed by the config where it says how long inputs are.
    Raises ModelError where its inputs are none of these, or `length` is more than its positions.
    """
    config = model.config
    accepted = inspect.signature(model.forward).parameters
    text, vision = config.get_text_config(), getattr(config, "vision_config", config)
    wanted = {model.main_input_name, *(("input_ids", "pixel_values") if vision is not config else ())} & set(accepted)
    found: dict[str, Tensor] = {}
    if "input_ids" in wanted:
        found |= _tokens(text, token_limit(model), length, batch_size)
        found = {name: x for name, x in found.items() if name in accepted}
    if "pixel_values" in wanted:
        size = getattr(vision, "image_size", None) or 224
        height, width = (size, size) if isinstance(size, int) else tuple(size)
        found["pixel_values"] = torch.randn(batch_size, getattr(vision, "num_channels", 3), height, width)
    if "input_features" in wanted:  # a spectrogram: Whisper's encoder halves its frames
        frames = 2 * getattr(config, "max_source_positions", 100)
        found["input_features"] = torch.randn(batch_size, getattr(config, "num_mel_bins", 80), frames)
    if "input_values" in wanted:
        bins = getattr(config, "num_mel_bins", None)  # AST: a spectrogram; Wav2Vec2: a waveform
        shape = (length or _SAMPLES,) if bins is None else (getattr(config, "max_length", 1024), bins)
        found["input_values"] = torch.randn(batch_size, *shape)
    if "past_values" in wanted:
        found["past_values"] = torch.randn(batch_size, config.context_length, config.num_input_channels)
    if not found:
        raise ModelError(
            f"{type(model).__name__} takes {model.main_input_name!r}, which no example can be made for",
            fix="convert it from Python: edgeattn.convert.find_layers(model, inputs)",
        )
    if "decoder_input_ids" in accepted:
        found["decoder_input_ids"] = _tokens(text, None, None, batch_size)["input_ids"][:, :16]
    return found


def _tokens(config: Any, limit: int | None, length: int | None, batch_size: int) -> dict[str, Tensor]:
    if limit is not None and length is not None and length > limit:
        raise ModelError(f"{length} tokens are more than the {limit} positions of the model")
    length = length or min(_TOKENS, limit or _TOKENS)
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(3, max(4, config.vocab_size), (batch_size, length), generator=generator)
    if getattr(config, "eos_token_id", None) is not None and isinstance(config.eos_token_id, int):
        tokens[:, -1] = config.eos_token_id  # CLIP reads its sentence there
    return {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
