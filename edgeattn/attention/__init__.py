"""Attention variants, one file each, behind a closed registry."""

from __future__ import annotations

from collections.abc import Mapping

from edgeattn.attention.variant import Variant
from edgeattn.registry import Registry, did_you_mean

ATTENTION: Registry[type[Variant]] = Registry(
    "attention variant",
    {
        "dense": "edgeattn.attention.dense:Dense",
        "hedgehog": "edgeattn.attention.hedgehog:Hedgehog",
        "sliding_window": "edgeattn.attention.sliding_window:SlidingWindow",
    },
)


def check_options(variant: str, options: Mapping[str, bool | int | float | str]) -> None:
    """Raise InputError (unknown variant) or ValueError (unknown or invalid option) with the nearest name."""
    known = ATTENTION[variant].Options
    for name in options:
        if not known.model_fields:
            raise ValueError(f"option {name!r}: {variant} has no options")
        if name not in known.model_fields:
            raise ValueError(
                f"option {name!r} is not one of {variant}'s; {did_you_mean(name, list(known.model_fields))}"
            )
    known.model_validate(dict(options))
