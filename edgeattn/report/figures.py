"""Figures of documents, checked before something is drawn or computed from them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

_MOST = 1e15


def positive(value: object, name: str) -> float:
    """A figure above 0. Raises ValueError, with its name, for anything else."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"{name} is {str(value)[:40]!r}, which is no figure")
    if not 1 / _MOST < value < _MOST:
        raise ValueError(f"{name} is {value:g}, which cannot be")
    return float(value)


def known(value: object, name: str) -> float | None:
    """A figure above 0; None for one that is unknown."""
    return None if value is None else positive(value, name)


def mapping(value: object) -> Mapping[str, Any]:
    """A JSON object; an empty one in place of anything else."""
    return value if isinstance(value, Mapping) else {}


def listed(value: object) -> Sequence[Any]:
    """A JSON list; an empty one in place of anything else."""
    return value if isinstance(value, (list, tuple)) else ()
