"""Checks the variants and options that the command line names."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from edgeattn.attention import ATTENTION, check_options
from edgeattn.attention.variant import VariantOptions
from edgeattn.errors import InputError
from edgeattn.measure.graphs import DENSE
from edgeattn.registry import did_you_mean


def choose(names: Sequence[str] | None, options: str | None, *, causal: bool) -> dict[str, VariantOptions]:
    """name -> checked options, in the order of the registry.

    names: all variants that support the mode when None. options: "hedgehog.feature_dim=16,sliding_window.window=256".
    Raises InputError with the nearest name.
    """
    fitting = [name for name in ATTENTION if name != DENSE and _has_mode(name, causal)]
    for name in names or ():
        if name == DENSE:
            raise InputError(f"{DENSE} is what the variants are compared with", where="--variants", fix="leave it out")
        if name not in ATTENTION:
            raise InputError(f"unknown variant {name!r}", where="--variants", fix=did_you_mean(name, fitting))
        if name not in fitting:
            mode, other = ("causal", "without") if causal else ("bidirectional", "with")
            raise InputError(
                f"{name} is not {mode}", where="--variants", fix=f"run {other} --causal, or use {', '.join(fitting)}"
            )
    chosen = [name for name in fitting if names is None or name in names]
    given = _parse(options or "")
    for name in given:
        if name not in chosen:
            raise InputError(
                f"{name!r} is not among the measured variants", where="--options", fix=did_you_mean(name, chosen)
            )
    return {name: _checked(name, given.get(name, {})) for name in chosen}


def _has_mode(name: str, causal: bool) -> bool:
    return ATTENTION[name].causal if causal else ATTENTION[name].bidirectional


def _parse(text: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        path, equals, value = part.partition("=")
        variant, dot, option = path.strip().partition(".")
        if not (equals and dot and variant and option):
            raise InputError(f"{part!r} is not an option", where="--options", fix="write sliding_window.window=256")
        try:
            found.setdefault(variant, {})[option] = json.loads(value)
        except json.JSONDecodeError:
            found.setdefault(variant, {})[option] = value.strip()  # a word
    return found


def _checked(name: str, options: dict[str, Any]) -> VariantOptions:
    try:
        check_options(name, options)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join((name, *map(str, first["loc"])))
        raise InputError(f"{place}: {first['msg']}", where="--options") from error
    except ValueError as error:
        fact, _, fix = str(error).partition("; ")
        raise InputError(fact, where="--options", fix=fix or None) from error
    return ATTENTION[name].Options.model_validate(options)
