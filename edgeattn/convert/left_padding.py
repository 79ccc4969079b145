"""The one thing that padding on the left changes: where rotary positions start, in a variant that sees it."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from edgeattn.attention.variant import Variant

LOG = logging.getLogger("edgeattn")


def watch(model: nn.Module) -> None:
    """Lets `model` log a warning at its first batch that is padded on the left, if its outputs depend on that.

    Dense attention with rotary positions sees distances only, so models count positions from the padding on. Features
    of a linear variant see the positions themselves.
    """
    rotary = any(name.endswith("inv_freq") for name, _ in model.named_buffers())
    variants = (module for module in model.modules() if isinstance(module, Variant))
    seeing = dict.fromkeys(variant.name for variant in variants if not variant.rotation_invariant)
    if rotary and seeing:
        names = list(inspect.signature(model.forward).parameters)
        model.register_forward_pre_hook(_Watch(names, list(seeing)), with_kwargs=True)


class _Watch:
    """A hook; a class, since a model that holds a local function cannot be pickled."""

    def __init__(self, names: Sequence[str], variants: Sequence[str]) -> None:
        self.names, self.variants = names, variants
        self.warned = False

    def __call__(self, model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if self.warned or torch.compiler.is_compiling():
            return
        given = {**dict(zip(self.names, args, strict=False)), **kwargs}
        mask = given.get("attention_mask")
        if not isinstance(mask, Tensor) or mask.ndim != 2 or given.get("position_ids") is not None:
            return
        seen = mask.bool()
        if bool((seen.any(1) & ~seen[:, 0]).any()):
            self.warned = True
            LOG.warning(
                "%s: this batch is padded on the left, and %s depends on where rotary positions start: pad on the "
                "right, or give position_ids that are 0 at the first token of each text",
                type(model).__name__,
                ", ".join(self.variants),
            )
