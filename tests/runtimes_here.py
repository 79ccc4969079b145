"""Which runtimes can run engines on this machine."""

from __future__ import annotations

import pytest

from edgeattn.runtimes import RUNTIMES
from edgeattn.runtimes.tensorrt_family.gpu import gpu_here


def require(name: str, *, to_run: bool = False) -> None:
    """Skip where the runtime is not installed, or cannot run its engines here."""
    pytest.importorskip(name)
    if to_run and not _has_its_device(name):
        pytest.skip(f"engines of {name} run on an NVIDIA GPU, and this machine has none")


def that_run() -> list[str]:
    """The runtimes that are installed and can run engines here."""
    return [name for name in RUNTIMES if RUNTIMES[name].version() is not None and _has_its_device(name)]


def _has_its_device(name: str) -> bool:
    return not RUNTIMES[name].compiles or gpu_here() is not None
