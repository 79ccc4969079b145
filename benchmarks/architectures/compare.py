"""Runs a model on one case and holds its outputs against those of the eager model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

TOLERANCE = 1e-4
_STATE = ("past_key_values", "cache_params", "attentions", "cross_attentions", "mems", "state", "attention_mask")
Outputs = dict[str, Tensor]


@dataclass(frozen=True)
class Check:
    """What one check found. error: the largest difference, in units of the output's scale or of 1."""

    result: str  # equal, wrong, refused, error, n/a
    error: float | None = None
    detail: str | None = None

    def document(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if value is not None}


def run(model: nn.Module, inputs: Mapping[str, Any], seed: int = 0) -> Outputs:
    """Every floating-point tensor of the model's output, by its place in it; no caches, masks and maps."""
    torch.manual_seed(seed)  # some models draw noise
    with torch.no_grad():
        return dict(tensors("", model(**inputs)))


def tensors(name: str, value: Any) -> list[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        return [(name, value)] if value.is_floating_point() else []
    if isinstance(value, Mapping):
        items = [(str(key), item) for key, item in value.items()]
    elif isinstance(value, list | tuple):
        items = [(str(index), item) for index, item in enumerate(value)]
    else:
        return []
    joined = [(f"{name}.{key}" if name else key, item) for key, item in items if key not in _STATE]
    return [found for key, item in joined for found in tensors(key, item)]


def compare(found: Outputs, expected: Outputs, attended: list[Tensor], same: Outputs | None = None) -> Check:
    """Held together at attended positions.

    attended: masks [B, N]; an output that begins with the shape of one is per token, and padding has no part in it.
    same: the eager outputs on other padding. Where they differ from `expected`, an output is no function of the text.
    """
    if found.keys() != expected.keys():
        missing = sorted(expected.keys() ^ found.keys())
        return Check("wrong", detail=f"other outputs: {', '.join(missing)}")
    worst, place, left_out = 0.0, "", []
    for key, target in expected.items():
        value = found[key]
        if value.shape != target.shape:
            return Check("wrong", detail=f"{key}: shape {list(value.shape)}, eager {list(target.shape)}")
        counted = torch.ones(target.shape, dtype=torch.bool)
        for mask in attended:
            if target.shape[: mask.ndim] == mask.shape:
                counted &= mask.bool()[(...,) + (None,) * (target.ndim - mask.ndim)]
                break
        counted &= target.isfinite()
        if same is not None and same[key].shape == target.shape:
            steady = (same[key] - target).abs() <= 10 * TOLERANCE * _scale(target, counted)
            if not bool((steady | ~counted).all()):
                left_out.append(key)
            counted &= steady
        if not bool(counted.any()):
            continue
        if not bool(value[counted].isfinite().all()):
            return Check("wrong", detail=f"{key}: not finite where eager is")
        error = float((value - target)[counted].abs().max()) / _scale(target, counted)
        if error > worst:
            worst, place = error, key
    if worst > TOLERANCE:
        return Check("wrong", round(worst, 7), place)
    if expected and left_out and set(left_out) == set(expected):
        return Check("n/a", detail="the eager model's own output depends on what pads")
    return Check("equal", round(worst, 9))


def _scale(target: Tensor, counted: Tensor) -> float:
    values = target[counted]
    return max(1.0, float(values.abs().max())) if values.numel() else 1.0
