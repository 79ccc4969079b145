"""Runs a model once, to find its layers or to check that it still runs after a change."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from edgeattn.errors import ModelError


def run_once(model: nn.Module, inputs: Mapping[str, Tensor], *, what: str, fix: str) -> None:
    """Runs `model` on `inputs`. Raises ModelError where it fails: "<class> does not run on <what>: <why>"."""
    try:
        with torch.no_grad():
            model(**inputs)
    except (RuntimeError, LookupError, ValueError, TypeError, AttributeError, AssertionError) as error:
        said = next(iter(str(error).splitlines()), type(error).__name__)
        raise ModelError(f"{type(model).__name__} does not run on {what}: {said}", fix=fix) from error
