"""What a mask function of transformers means: `f(batch, head, query, key) -> seen`, of which it makes N x N masks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers.masking_utils import bidirectional_mask_function, causal_mask_function

from edgeattn.errors import ModelError

MaskFunction = Callable[..., Any]
_FAR = 2**20  # a position so late that any window lies before it


def pattern(function: MaskFunction, owner: str = "its") -> tuple[bool, int | None]:
    """(causal, window as in `dense_attention`) of a mask function.

    owner: whose mask it is, for the error. Raises ModelError for a function that is more than causality and a window.
    """
    if function in (causal_mask_function, bidirectional_mask_function):
        return function is causal_mask_function, None
    parts = _closed_over(function).get("mask_functions", ())
    names = [part.__qualname__.partition(".")[0] for part in parts]
    if len(parts) == 2 and names[0].startswith("sliding_window"):
        reach = int(_closed_over(parts[0])["sliding_window"])
        return pattern(parts[1], owner)[0], reach + 1 if names[0] == "sliding_window_bidirectional_overlay" else reach
    found = _evaluated(function)
    if found is None:
        what = " and ".join(names) or function.__qualname__.partition(".")[0]
        raise ModelError(
            f"{owner} attention mask is made by {what}, which is more than causality, a window and padding",
            fix="give an attention_mask [B, N] and no packed sequences, or use another architecture",
        )
    return found


def _closed_over(function: MaskFunction) -> dict[str, Any]:
    names = function.__code__.co_freevars
    return {name: cell.cell_contents for name, cell in zip(names, function.__closure__ or (), strict=True)}


def _evaluated(function: MaskFunction) -> tuple[bool, int | None] | None:
    """The pattern of a function of positions alone, from its values at positions far apart. None where it has none."""
    found = {_reach(function, query) for query in (_FAR, _FAR + 1, _FAR + 4097)}
    if len(found) != 1 or None in found:
        return None
    ((back, ahead),) = found  # type: ignore[misc]
    if ahead == 0:
        return True, None if back is None else back + 1
    return (False, None if back is None else back + 1) if ahead == back else None


def _reach(function: MaskFunction, query: int) -> tuple[int | None, int | None] | None:
    """How many keys before and after itself a query sees, None for all; None where these are not one run of keys."""
    keys, zero = torch.arange(2 * query), torch.tensor(0)
    try:
        seen: Tensor = function(zero, zero, torch.tensor(query), keys)
    except IndexError:  # it looks positions up in a tensor, such as one that tells packed texts apart
        return None
    places = seen.expand(len(keys)).nonzero().flatten()
    if not len(places) or len(places) != places[-1] - places[0] + 1:
        return None
    back, ahead = query - int(places[0]), int(places[-1]) - query
    if back < 0 or ahead < 0:
        return None
    return None if back == query else back, None if ahead == query - 1 else ahead
