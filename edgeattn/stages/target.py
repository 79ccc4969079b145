"""What the target decides: the opset of the graphs, and which runtimes try which quantization methods."""

from __future__ import annotations

from collections.abc import Collection

from edgeattn.devices import DeviceProfile
from edgeattn.errors import RecipeError
from edgeattn.recipe.schema import Recipe
from edgeattn.runtimes import RUNTIMES


def opset_of(recipe: Recipe, device: DeviceProfile) -> int:
    """The opset that graphs are written in: one that all runtimes of the target run.

    Raises RecipeError for one that some runtime does not.
    """
    from edgeattn.export.onnx import PREFERRED_OPSET

    low = max(support.opset[0] for support in device.runtimes)
    high = min(support.opset[1] for support in device.runtimes)
    opset = recipe.export.opset or max(low, min(PREFERRED_OPSET, high))
    if not low <= opset <= high:
        raise RecipeError(
            f"opset {opset} is not one that {device.name} runs", where="export.opset", fix=f"use {low} to {high}"
        )
    return opset


def methods_of(recipe: Recipe, device: DeviceProfile) -> tuple[str, ...]:
    """The names of the recipe's methods that some runtime of the target runs. Raises RecipeError where none does."""
    asked = [each.name for each in recipe.quantize.methods]
    known = dict.fromkeys(method for support in device.runtimes for method in support.methods)
    found = tuple(method for method in asked if method in known)
    if not found:
        raise RecipeError(
            f"{device.name} runs none of {', '.join(asked)}",
            where="quantize.methods",
            fix=f"use {' or '.join(known)}",
        )
    return found


def runtimes_for(device: DeviceProfile, method: str, operators: Collection[str]) -> tuple[str, ...]:
    """The target's runtimes that run a graph quantized by `method` with these fused operators."""
    return tuple(
        support.name
        for support in device.runtimes
        if method in support.methods and RUNTIMES[support.name].operators.issuperset(operators)
    )
