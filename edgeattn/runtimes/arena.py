"""How much memory a runtime keeps for intermediate results: what a process has less once it was told to give it back.

Runtimes reserve such memory in an arena of their own and keep it between inferences. None of them says in Python how
large it is, but all are documented to release it.
"""

from __future__ import annotations

import ctypes
import functools
import re
from collections.abc import Callable
from pathlib import Path

_STATUS = Path("/proc/self/status")
_RUNS = 3  # ONNX Runtime plans its memory in the first inference of a shape, and uses the plan from the second one on


def held_bytes(run: Callable[[], object], release: Callable[[], object]) -> int | None:
    """Resident bytes that `run` makes a runtime keep, and `release` makes it give back.

    None where it gives nothing back, as ONNX Runtime does not with the first region of its arena, and where Linux and
    the GNU C library are not there to say it. What other inferences made it keep does not count: it is released first.
    """
    if _resident_bytes() is None:
        return None
    release()
    for _ in range(_RUNS):
        run()
    kept = _resident_bytes()
    release()
    left = _resident_bytes()
    return kept - left if kept is not None and left is not None and kept > left else None


def _resident_bytes() -> int | None:
    """The resident set of this process without what is free in its heap: the C library keeps that for later."""
    trim = _trim()
    if trim is None:
        return None
    trim(0)
    try:
        found = re.search(r"VmRSS:\s*(\d+) kB", _STATUS.read_text())
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


@functools.cache
def _trim() -> Callable[[int], int] | None:
    """malloc_trim of the GNU C library."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
