"""The inputs that a converted model is held against the eager one on: padding, masks of other types, packed texts."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from edgeattn.models.example import example_inputs
from edgeattn.models.positions import token_limit

LENGTH, BATCH = 24, 3
MASK = "attention_mask"
SAMPLES = 5760  # of a waveform: 18 tokens of most speech models
Inputs = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One input that a converted model is held against the eager one on.

    attended: masks [B, N] of what counts; other: the same inputs with other padding; eager: what the eager model is
    given instead, where it reads a mask of this type otherwise than as a mask.
    """

    inputs: Inputs
    attended: list[Tensor] = field(default_factory=list)
    other: Inputs | None = None
    eager: Inputs | None = None


def example(model: PreTrainedModel, batch: int = BATCH, factor: float = 1.0) -> Inputs:
    """Seeded inputs without padding; `factor` times the usual length where the model takes any number of tokens."""
    torch.manual_seed(0)
    length = SAMPLES
    if "input_ids" in inspect.signature(model.forward).parameters:
        length = min(LENGTH, (token_limit(model) or LENGTH) * 2 // 3) if (token_limit(model) or 0) > 0 else LENGTH
    return dict(example_inputs(model, length=int(factor * length), batch_size=batch))


def cases(model: PreTrainedModel) -> dict[str, Case]:
    """The cases that apply, by name, in the order in which one converted model is run on them.

    A bool mask comes before an integer one and again behind it, so that what one leaves behind shows in the other.
    """
    whole = example(model)
    right, left = padded(model, whole, left=False), padded(model, whole, left=True)
    if right is None or left is None:
        found = {"batch": Case(whole)}
    else:
        bool_mask = Case({**right.inputs, MASK: right.inputs[MASK].bool()}, right.attended, right.other)
        found = {
            "bool mask": bool_mask,
            "right padding": right,
            "bool mask again": bool_mask,
            "integer mask": right,
            "left padding": left,
            "no mask": Case({key: x for key, x in whole.items() if not key.endswith("attention_mask")}),
        }
    found["one sample"] = Case(example(model, 1))
    if right is not None and "input_ids" in whole:
        found |= _packed(model, whole)
    if "image_sizes" in inspect.signature(model.forward).parameters and "pixel_values" in whole:
        height, width = whole["pixel_values"].shape[-2:]
        sizes = torch.tensor([[height, width], [height // 2, width], [height // 2, width // 2]])
        found["images of several sizes"] = Case({**whole, "image_sizes": sizes})
    return found


def padded(model: PreTrainedModel, whole: Inputs, *, left: bool) -> Case | None:
    """`whole` with all but the first sample shortened by padding; None where the model takes no mask of its input."""
    key = next((key for key in ("input_ids", "input_values") if key in whole), None)
    if key is None or whole[key].ndim != 2 or MASK not in inspect.signature(model.forward).parameters:
        return None
    values, images = whole[key], _image_tokens(model, whole[key])
    mask = _mask(*values.shape, left, images)
    inputs, attended = {**whole, MASK: mask}, [mask]
    if "decoder_attention_mask" in inspect.signature(model.forward).parameters and "decoder_input_ids" in whole:
        inputs["decoder_attention_mask"] = _mask(*whole["decoder_input_ids"].shape, left, 0)
        attended.insert(0, inputs["decoder_attention_mask"])
    if left:  # the end of a text is cut off, not its images
        values = torch.stack([row.roll(int((1 - own).sum())) for row, own in zip(values, mask, strict=True)])
    pads = (0.0, 0.5) if values.is_floating_point() else (3, 4)
    inputs[key], other = (torch.where(mask.bool(), values, values.new_tensor(pad)) for pad in pads)
    return Case(inputs, attended, {**inputs, key: other})


def _image_tokens(model: PreTrainedModel, tokens: Tensor) -> int:
    """How many tokens at the beginning of each text stand for an image."""
    names = ("image_token_id", "image_token_index")
    token = next((found for name in names if (found := getattr(model.config, name, None)) is not None), -1)
    return int((tokens[0] == token).sum())


def _mask(batch: int, length: int, left: bool, images: int) -> Tensor:
    text = length - images
    lengths = torch.tensor([length, images + 2 * text // 3, images + text // 4])[:batch]
    mask = (torch.arange(length) < lengths[:, None]).long()
    return mask.flip(1) if left else mask


def _packed(model: PreTrainedModel, whole: Inputs) -> dict[str, Case]:
    """Texts behind one another in a row, that do not see each other; another division in each row."""
    n = whole["input_ids"].shape[1]
    ends = torch.tensor([[n // 2, n], [n // 3, 2 * n // 3], [n // 4, n]])
    text = (torch.arange(n)[None, :, None] >= ends[:, None]).sum(-1)  # [B, N]: which text a token belongs to
    blocks = (text[:, :, None] == text[:, None])[:, None]
    if getattr(model.config, "is_causal", None) or not _bidirectional(model):
        blocks = blocks.tril()
    added = torch.where(blocks, 0.0, torch.finfo(torch.float32).min)
    additive = {**whole, MASK: added}
    # Eager attention adds a bool mask to the scores, as 0 and 1; torch's own attention reads it as a mask.
    return {"packed, additive": Case(additive), "packed, bool": Case({**whole, MASK: blocks}, eager=additive)}


def _bidirectional(model: PreTrainedModel) -> bool:
    return not any(getattr(module, "is_causal", False) for module in model.modules())
