"""Attention variants and token reducers, one file each, behind closed registries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgeattn.attention.variant import Variant
from edgeattn.registry import Registry
from edgeattn.validation import options_of

if TYPE_CHECKING:
    from edgeattn.attention.token_merging import TokenMerging

ATTENTION: Registry[type[Variant]] = Registry(
    "attention variant",
    {
        "dense": "edgeattn.attention.dense:Dense",
        "hedgehog": "edgeattn.attention.hedgehog:Hedgehog",
        "relu_linear": "edgeattn.attention.relu_linear:ReluLinear",
        "elu_linear": "edgeattn.attention.elu_linear:EluLinear",
        "luna": "edgeattn.attention.luna:Luna",
        "sliding_window": "edgeattn.attention.sliding_window:SlidingWindow",
        "dilated_window": "edgeattn.attention.dilated_window:DilatedWindow",
        "window_2d": "edgeattn.attention.window_2d:Window2d",
        "block_topk": "edgeattn.attention.block_topk:BlockTopk",
        "window_linear": "edgeattn.attention.window_linear:WindowLinear",
        "agent": "edgeattn.attention.agent:Agent",
        "gated_delta": "edgeattn.attention.gated_delta:GatedDelta",
        "identity": "edgeattn.attention.identity:Identity",
    },
)


# What makes the layers after it run on fewer tokens.
REDUCERS: Registry[type[TokenMerging]] = Registry(
    "token reducer", {"token_merging": "edgeattn.attention.token_merging:TokenMerging"}
)


def check_options(
    entry: str,
    options: Mapping[str, bool | int | float | str],
    registry: Registry[Any] = ATTENTION,
) -> None:
    """Raise InputError (unknown entry) or ValueError (unknown or invalid option) with the nearest name."""
    options_of(entry, options, registry[entry].Options)
