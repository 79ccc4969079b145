"""Plan: which layer gets which attention variant, and after which layers tokens are merged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeattn.errors import ModelError, RecipeError

PLAN_KEY = "edgeattn"  # the entry of a student's config that holds its plan


@dataclass(frozen=True)
class Choice:
    """The variant of one layer, or the token reducer after it."""

    layer: int
    variant: str
    options: Mapping[str, bool | int | float | str]

    def document(self) -> dict[str, Any]:
        return {"layer": self.layer, "variant": self.variant, "options": dict(self.options)}


Plan = tuple[Choice, ...]


def make_plan(attention: Sequence[Any], reduce: Sequence[Any], layers: int) -> Plan:
    """The plan of a recipe's rules for a model of `layers` layers: variants by layer, then reducers by layer.

    Raises RecipeError for a layer that does not exist or that two rules name.
    """
    return _chosen("attention", attention, layers) + _chosen("reduce", reduce, layers)


def _chosen(key: str, rules: Sequence[Any], layers: int) -> Plan:
    chosen: dict[int, Choice] = {}
    for position, rule in enumerate(rules):
        for index in rule.indices(layers):
            where = f"{key}[{position}]"
            if index >= layers:
                raise RecipeError(
                    f"layer {index} does not exist: the model has {layers} layers, 0 to {layers - 1}",
                    where=where,
                )
            if index in chosen:
                raise RecipeError(
                    f"layer {index} has {chosen[index].variant} already",
                    where=where,
                    fix="name each layer once",
                )
            chosen[index] = Choice(index, rule.entry, rule.options)
    return tuple(chosen[index] for index in sorted(chosen))


def plan_of(config: Any) -> Plan:
    """The plan in a student's config, an object or parsed JSON. Raises ModelError where there is none."""
    entry = config.get(PLAN_KEY) if isinstance(config, Mapping) else getattr(config, PLAN_KEY, None)
    if not entry:
        raise ModelError("its config has no edgeattn plan", fix="give a folder that edgeattn wrote")
    return tuple(Choice(**choice) for choice in entry["plan"])
