"""The raw nanosecond series inside bench.json: compressed, whole, with outliers.

They are part of the document, so that series and summary are always of the same session.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

ENCODING = "base64(zlib(int64, little-endian))"


def pack(series: Sequence[int]) -> str:
    """Nanoseconds as text."""
    data = np.asarray(series, dtype="<i8").tobytes()
    return base64.b64encode(zlib.compress(data, 9)).decode("ascii")


def unpack(document: Mapping[str, object]) -> dict[str, NDArray[np.int64]]:
    """The series of a bench document: "<length or whole>.<side>.<pair>" -> [inferences] int64."""
    raw = document["raw"]
    assert isinstance(raw, Mapping)
    packed = raw["series"].items()
    return {key: np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype="<i8") for key, text in packed}
