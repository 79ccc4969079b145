"""The file of weights beside a graph."""

from __future__ import annotations

from pathlib import Path


def weights_of(graph: Path) -> Path:
    """The file that holds the weights of `graph`."""
    return graph.with_name(f"{graph.name}.data")
