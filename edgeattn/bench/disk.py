"""Bytes on disk of an engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class _Sized(Protocol):
    @property
    def bytes(self) -> int: ...


def disk_bytes(files: Mapping[str, _Sized], graph: str, folder: str) -> int:
    """Bytes of an engine's files: its folder, its graph, and the graph's weights (`<graph>.data`)."""
    return sum(
        entry.bytes
        for name, entry in files.items()
        if name == graph or name.startswith((f"{graph}.", f"{graph}_", f"{folder}/"))
    )
