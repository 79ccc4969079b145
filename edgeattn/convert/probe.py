"""Runs a model once, to find its layers or to check that it still runs after a change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from edgeattn.errors import ModelError


def run_once(
    model: nn.Module, inputs: Mapping[str, Tensor], *, what: str, fix: str, within: Sequence[nn.Module] = ()
) -> None:
    """Runs `model` on `inputs`. Raises ModelError where it fails: "<class> does not run on <what>: <why>".

    within: the modules that are running at any time, the innermost last, so that the error can name it.
    """
    try:
        with torch.no_grad():
            model(**inputs)
    except (RuntimeError, LookupError, ValueError, TypeError, AttributeError, AssertionError) as error:
        said = next(iter(str(error).splitlines()), type(error).__name__)
        names = {module: name for name, module in model.named_modules()}
        inner = f"{type(within[-1]).__name__} ({names[within[-1]]}): " if len(within) > 1 else ""
        raise ModelError(f"{type(model).__name__} does not run on {what}: {inner}{said}", fix=fix) from error
