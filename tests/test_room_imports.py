"""Which room imports which: work flows one way, from the command line through jobs to measurements and runtimes."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import edgeattn

PACKAGE = Path(edgeattn.__file__).parent

# room -> rooms and files that it never imports, not even inside a function
NEVER = {
    "bench": ("cli", "report", "jobs", "hosts", "gate", "profiling"),
    "profiling": ("cli", "report", "jobs", "hosts", "gate"),
    "measure": ("cli", "jobs", "hosts"),
    "report": ("cli", "jobs", "hosts"),
    "runtimes": ("bench", "report", "cli", "jobs", "hosts"),
    "gate": ("cli", "jobs", "hosts"),
    "history": ("cli", "jobs", "hosts", "gate"),
    "meters": ("bench", "report", "cli", "jobs", "hosts"),
}


def imported(file: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("edgeattn.")}


@pytest.mark.parametrize("room", NEVER)
def test_a_room_knows_nothing_of_those_above_it(room):
    for file in sorted((PACKAGE / room).rglob("*.py")):
        assert imported(file).isdisjoint(NEVER[room]), file
