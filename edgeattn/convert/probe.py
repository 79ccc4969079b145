"""Runs a model once, to see what its layers are or whether it stands a change."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from edgeattn.errors import ModelError


def run_once(model: nn.Module, inputs: Mapping[str, Tensor], *, what: str, fix: str) -> None:
    """Raises ModelError, which says that it does not run on `what`, if the model does not take the inputs."""
    try:
        with torch.no_grad():
            model(**inputs)
    except (RuntimeError, LookupError, ValueError, TypeError) as error:
        said = next(iter(str(error).splitlines()), type(error).__name__)
        raise ModelError(f"{type(model).__name__} does not run on {what}: {said}", fix=fix) from error
