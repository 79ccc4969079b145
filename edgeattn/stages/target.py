"""What the target decides: the opset of the graphs and the methods that are tried."""

from __future__ import annotations

from edgeattn.devices import DeviceProfile
from edgeattn.errors import RecipeError
from edgeattn.recipe.schema import QuantizeMethod, Recipe
from edgeattn.target import supported


def opset_of(recipe: Recipe, device: DeviceProfile) -> int:
    """The opset that graphs are written in. Raises RecipeError for one that the device does not run."""
    from edgeattn.export.onnx import PREFERRED_OPSET

    low, high = supported(device).opset
    opset = recipe.export.opset or min(PREFERRED_OPSET, high)
    if not low <= opset <= high:
        raise RecipeError(
            f"opset {opset} is not one that {device.name} runs", where="export.opset", fix=f"use {low} to {high}"
        )
    return opset


def methods_of(recipe: Recipe, device: DeviceProfile) -> list[QuantizeMethod]:
    """The recipe's methods that the device runs. Raises RecipeError where it runs none."""
    support = supported(device)
    found = [method for method in recipe.quantize.methods if method.name in support.methods]
    if not found:
        raise RecipeError(
            f"{device.name} runs none of {', '.join(method.name for method in recipe.quantize.methods)}",
            where="quantize.methods",
            fix=f"use {' or '.join(support.methods)}",
        )
    return found
