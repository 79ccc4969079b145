"""What of the target decides how graphs are written and built."""

from __future__ import annotations

from typing import Any

from edgeattn.devices import DeviceProfile, RuntimeSupport
from edgeattn.errors import DeviceError, RecipeError
from edgeattn.recipe.schema import Recipe
from edgeattn.runtimes import RUNTIMES


def supported(device: DeviceProfile) -> RuntimeSupport:
    """What the device says of its first runtime that is installed here. Raises DeviceError where none is."""
    for support in device.runtimes:
        if support.name in RUNTIMES and RUNTIMES[support.name].version() is not None:
            return support
    names = " or ".join(support.name for support in device.runtimes)
    raise DeviceError(f"no runtime for {device.name}: it needs {names}", fix="run `edgeattn doctor`")


def lowering(device: DeviceProfile) -> dict[str, Any]:
    """What of the target decides how graphs are written: its runtime and opsets. Raises DeviceError for none."""
    support = supported(device)
    return {"runtime": support.name, "opset": list(support.opset)}


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


def precisions_of(recipe: Recipe, device: DeviceProfile) -> list[str]:
    """The recipe's precisions that the device runs. Raises RecipeError where it runs none."""
    support = supported(device)
    found: list[str] = [precision for precision in recipe.quantize.precisions if precision in support.precisions]
    if not found:
        raise RecipeError(
            f"{device.name} runs none of {', '.join(recipe.quantize.precisions)}",
            where="quantize.precisions",
            fix=f"use {' or '.join(support.precisions)}",
        )
    return found
