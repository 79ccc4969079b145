"""Digests of sources of samples, for the store's keys."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from edgeattn.data import builtin, docstrings
from edgeattn.data.builtin import FROM_LIBRARY, load_builtin
from edgeattn.recipe import inside
from edgeattn.recipe.schema import Source
from edgeattn.store import sha256_file


def source_digest(source: Source, root: Path) -> str:
    """Digest of a source's content: a file's bytes, a builtin set's samples; for the hub, the revision.

    Parsing the standard library takes a second, too long for every run: for its texts it is the digest of the source
    files and of the code that reads them.
    """
    kind, _, name = source.source.partition(":")
    if kind == "hub":
        return f"hub:{source.revision}"
    if kind != "builtin":
        return sha256_file(inside(root, source.source))
    if name in FROM_LIBRARY:
        return f"sha256:{hashlib.sha256(f'{name} {source.split} {_library()}'.encode()).hexdigest()}"
    digest = hashlib.sha256()
    for column, values in load_builtin(name, source.split).items():
        content = values.tobytes() if isinstance(values, np.ndarray) else "\0".join(values).encode()
        digest.update(f"{column} {len(values)} ".encode() + content)
    return f"sha256:{digest.hexdigest()}"


def _library() -> str:
    code = (sha256_file(Path(str(module.__file__))) for module in (builtin, docstrings))
    return " ".join([*code, docstrings.sources_digest()])
