"""Memory and disk use of an engine: the peak of a process that only loads and runs it, and its bytes on disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from edgeattn.bench.leg import Engine, Leg

RUNS = 3  # the arena of a runtime grows in the first runs


class _Sized(Protocol):
    @property
    def bytes(self) -> int: ...


def peak_memory_bytes(engine: Engine, feeds: Path) -> int | None:
    """Peak resident set of a fresh process that loads and runs the engine, less the same process without it.

    Without the engine, it holds Python, the runtime's library and the feeds. None where the system does not report it.
    """
    with Leg("without an engine", engine, feeds, quiet=True) as leg:
        without = leg.peak_bytes()
    with Leg("for memory", engine, feeds, quiet=True) as leg:
        leg.load()
        leg.measure(seconds=0, at_least=RUNS, limit_s=600)
        peak = leg.peak_bytes()
    return None if peak is None or without is None else max(0, peak - without)


def disk_bytes(files: Mapping[str, _Sized], graph: str, folder: str) -> int:
    """Bytes of an engine's files: its folder, its graph, and the graph's weights (`<graph>.data`)."""
    return sum(
        entry.bytes
        for name, entry in files.items()
        if name == graph or name.startswith((f"{graph}.", f"{graph}_", f"{folder}/"))
    )
