"""Digests of sources of samples, for the store's keys."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from edgeattn.data.builtin import load_builtin
from edgeattn.recipe import inside
from edgeattn.recipe.schema import Source
from edgeattn.store import sha256_file


def source_digest(source: Source, root: Path) -> str:
    """Digest of a source's content: a file's bytes, a builtin set's samples; for the hub, the revision."""
    kind, _, name = source.source.partition(":")
    if kind == "hub":
        return f"hub:{source.revision}"
    if kind != "builtin":
        return sha256_file(inside(root, source.source))
    digest = hashlib.sha256()
    for column, values in load_builtin(name, source.split).items():
        content = values.tobytes() if isinstance(values, np.ndarray) else "\0".join(values).encode()
        digest.update(f"{column} {len(values)} ".encode() + content)
    return f"sha256:{digest.hexdigest()}"
