"""Takes a ready-made attention mask apart: padding of keys, causality, or else a bias that is added to the scores."""

from __future__ import annotations

import torch
from torch import Tensor

from edgeattn.attention.variant import Variant, lowest

# Additive masks hide keys with values from -1e4, which fp16 can hold, down to -inf.
_HIDDEN = -1e4


def split(
    mask: Tensor, batch: int, *, causal: bool, variant: Variant | None
) -> tuple[Tensor | None, bool, Tensor | None]:
    """(key mask [B, M] or None, causal, bias [B or 1, H or 1, N or 1, M] or None) that together are `mask`.

    mask: [B or 1, H or 1, N or 1, M], bool (True = attend) or what is added to the scores.
    causal: tried first, since a single query fits both; variant: of the layer, if it has one.
    A mask that is not padding, causality or both is a bias, added by dense attention and by variants that are `biased`.
    """
    if torch.compiler.is_compiling():
        return _traced(mask, batch, causal, variant)
    seen = mask if mask.dtype == torch.bool else mask == 0
    if mask.dtype != torch.bool and not bool((seen | (mask <= _HIDDEN)).all()):
        return None, False, additive(mask)
    if bool((seen == seen[:, :1]).all()):  # alike for all heads
        rows = seen[:, 0]
        n, m = rows.shape[-2:]
        past = torch.ones(n, m, dtype=torch.bool, device=mask.device).tril(m - n)
        # What a padded query sees does not matter where it is no key either, but only if that is nothing or
        # everything: a row that is cut in another way belongs to a packed sequence, a block or a window.
        free = rows.all(-1) | ~rows.any(-1)
        # The keys that are no padding: those of the last query, or, where it is padding itself, those that any sees.
        for keys in (rows[:, -1], rows.any(1)):
            padded = free & ~keys if n == m else torch.zeros_like(free)
            for found in (causal, not causal):
                expected = keys[:, None] & past if found else keys[:, None]
                if bool(((rows == expected) | padded[:, :, None]).all()):
                    return (None if bool(keys.all()) else keys.expand(batch, -1)), found, None
    return None, False, additive(mask)


def _traced(
    mask: Tensor, batch: int, causal: bool, variant: Variant | None
) -> tuple[Tensor | None, bool, Tensor | None]:
    """As `split` while a graph is traced: values are unknown, so the mask is read as when the layers were found."""
    seen = mask if mask.dtype == torch.bool else mask > _HIDDEN
    if variant is not None:
        if variant.gets_bias:
            return None, variant.shape.causal, additive(mask)
        return seen[:, 0, -1].expand(batch, -1), variant.shape.causal, None
    if mask.shape[1] == 1 and mask.shape[2] == 1 and mask.dtype == torch.bool:
        return seen[:, 0, 0].expand(batch, -1), causal, None
    return None, False, additive(mask)


def additive(mask: Tensor) -> Tensor:
    """A mask as a term of the scores, without -inf: softmax turns a row of -inf into NaN."""
    if mask.dtype == torch.bool:
        return torch.where(mask, 0.0, lowest(torch.float32))
    return mask.clamp_min(lowest(mask.dtype))


def both(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    """Two key masks joined by "and", or two biases added; the other where one is None."""
    if a is None or b is None:
        return b if a is None else a
    return a & b if a.dtype == torch.bool else a + b
