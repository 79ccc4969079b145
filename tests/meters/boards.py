"""Copies of the file trees of boards, whose sensors tests can set."""

from __future__ import annotations

import shutil
from pathlib import Path

TREES = Path(__file__).parents[1] / "devices/trees"


def board(name: str, to: Path) -> Path:
    """A copy of a tree, that may be changed; returns its root."""
    return shutil.copytree(TREES / name, to / name, symlinks=True)


def chip(root: Path, address: str) -> Path:
    """The hwmon folder of an INA3221, such as "1-0040"."""
    (folder,) = (root / f"sys/bus/i2c/drivers/ina3221/{address}/hwmon").iterdir()
    return folder


def write(file: Path, value: int | str) -> None:
    """Sets a sensor file in one step, as the kernel does: the meter's thread reads at the same time."""
    new = file.with_name("new")
    new.write_text(f"{value}\n")
    new.replace(file)
