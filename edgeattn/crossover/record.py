"""The files of a crossover: its document, the table and the plot."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeattn.crossover.plot import draw
from edgeattn.measure.table import show_crossover
from edgeattn.store import write_json


def record(document: Mapping[str, Any], folder: Path) -> None:
    """Write crossover.json, crossover.txt, crossover.svg and crossover.png into `folder`."""
    write_json(folder / "crossover.json", document)
    with (folder / "crossover.txt").open("w", encoding="utf-8") as file:
        show_crossover(document, file)
    draw(document, folder)
