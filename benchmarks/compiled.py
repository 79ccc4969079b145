"""A bundle of a recipe, compiled as a user would, for as long as a benchmark needs it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def compiled(recipe: str) -> Iterator[Path]:
    """The bundle's folder; stages come from the store where it has them."""
    with tempfile.TemporaryDirectory() as name:
        bundle = Path(name) / recipe
        subprocess.run([sys.executable, "-m", "edgeattn", "compile", recipe, "--out", str(bundle)], check=True)
        yield bundle
