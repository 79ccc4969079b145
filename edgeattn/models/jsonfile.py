"""The JSON files of a model's folder."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgeattn.errors import ModelError


def read_object(path: Path) -> dict[str, Any]:
    """The object in `path`. Raises ModelError where it is missing, is not JSON, not an object, or holds NaN."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise ModelError(
            f"no {path.name}", where=str(path.parent), fix="give a folder saved by save_pretrained"
        ) from None
    except (ValueError, RecursionError) as error:
        raise ModelError(f"not JSON: {error}", where=str(path), fix="save or download it again") from error
    if not isinstance(found, dict):
        raise ModelError("not a JSON object", where=str(path), fix="save or download it again")
    for key in _nan_keys(found):  # infinity stays: some configs mean it
        raise ModelError(f"{key} is NaN", where=str(path), fix="give it a number, or save the model again")
    return found


def _nan_keys(value: Any, key: str = "") -> Iterator[str]:
    if isinstance(value, float) and math.isnan(value):
        yield key
    elif isinstance(value, (dict, list)):
        for name, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _nan_keys(item, f"{key}.{name}".lstrip("."))
