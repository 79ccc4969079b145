"""The only reader of a bundle's own JSON, as strict as that of recipes: a file is valid as a whole, or refused.

Refused: a link, more than 16 MiB, a key that is given twice, NaN, and numbers that are too large.
"""

from __future__ import annotations

import json
import math
import stat
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from edgeattn.errors import BundleError

COPY_AGAIN = "copy the bundle again, or compile it again"
_LIMIT_BYTES = 16 * 1024 * 1024

M = TypeVar("M", bound=BaseModel)


def read_json(file: Path, model: type[M], *, newest: int, fix: str = COPY_AGAIN) -> M:
    """The document in `file` as a `model`, whose field schema_version may be at most `newest`.

    Raises BundleError with `fix`; for a newer schema, with both versions.
    """
    try:
        status = file.lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > _LIMIT_BYTES:
            raise BundleError(f"is not a file of at most {_LIMIT_BYTES} bytes", where=str(file), fix=fix)
        text = file.read_text(encoding="utf-8")
        document = strict_json(text)
    except OSError as error:
        raise BundleError(f"cannot be read: {error.strerror}", where=str(file), fix=fix) from error
    except (ValueError, RecursionError) as error:
        raise BundleError(f"is not the JSON of a bundle: {error}", where=str(file), fix=fix) from error
    key = model.model_fields["schema_version"].alias or "schema_version"
    version = document.get(key) if isinstance(document, dict) else None
    if isinstance(version, int) and version > newest:
        raise BundleError(
            f"has schema version {version}; this edgeattn reads version {newest}",
            where=str(file),
            fix="upgrade edgeattn: pip install --upgrade edgeattn",
        )
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = "".join(f"{part}." for part in first["loc"])[:-1]
        cause = first.get("ctx", {}).get("error")  # of our own validators, without pydantic's "Value error, "
        fact = str(cause) if isinstance(cause, ValueError) else first["msg"]
        raise BundleError(f"{place}: {fact}" if place else fact, where=str(file), fix=fix) from error


def strict_json(text: str | bytes) -> Any:
    """The value of JSON text. Raises ValueError for what this module refuses, RecursionError for deep nesting."""
    return json.loads(text, parse_constant=_constant, parse_float=_finite, object_pairs_hook=_without_repeated_keys)


def _constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is too large for a number")
    return number


def _without_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} is given twice")
    return found
