"""How to get TensorRT's Python module, on this machine: JetPack brings it, for the system's own Python alone."""

from __future__ import annotations

import sys
from pathlib import Path

from edgeattn.devices.board import board_facts

_OLDEST = (3, 10)  # of edgeattn


def how_to_get_tensorrt(root: Path, python: tuple[int, int] = (sys.version_info[0], sys.version_info[1])) -> str:
    """The remedy for a Python that does not have it. root: the folder that has the machine's /usr and /etc."""
    has = sorted(_pythons_with_it(root))
    if has and python in has:
        return (
            "the system's Python has it: make the virtual environment of edgeattn with "
            f"`python{_shown(python)} -m venv --system-site-packages`"
        )
    if has and has[-1] < _OLDEST:
        return (
            f"the system's is for Python {_shown(has[-1])}, and edgeattn needs {_shown(_OLDEST)} or later: build the "
            "graphs with trtexec, as install.md shows, or update to JetPack 6 or later"
        )
    if has:
        return (
            f"the system's is for Python {_shown(has[-1])}, this is {_shown(python)}: make the virtual environment of "
            f"edgeattn with `python{_shown(has[-1])} -m venv --system-site-packages`"
        )
    if board_facts(root).l4t is not None:
        return (
            "JetPack has it: sudo apt install python3-libnvinfer, and make the virtual environment of edgeattn with "
            "`python3 -m venv --system-site-packages`"
        )
    return "pip install 'edgeattn[tensorrt]'"


def _pythons_with_it(root: Path) -> list[tuple[int, int]]:
    """Versions of the system's Python for which Debian's packages have installed the module."""
    found = []
    for folder in (root / "usr/lib").glob("python3.*/dist-packages/tensorrt"):
        minor = folder.parent.parent.name.removeprefix("python3.")
        if minor.isdigit():
            found.append((3, int(minor)))
    return found


def _shown(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
