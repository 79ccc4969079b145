"""A /sys/class/powercap whose counters tests can set."""

from __future__ import annotations

from pathlib import Path

RANGE_UJ = 262_143_328_850


def zone(root: Path, folder: str, name: str, energy_uj: int) -> Path:
    """A powercap zone below `root`; returns its folder."""
    path = root / "sys/class/powercap" / folder
    path.mkdir(parents=True)
    (path / "name").write_text(f"{name}\n")
    (path / "max_energy_range_uj").write_text(f"{RANGE_UJ}\n")
    reading(path, energy_uj)
    return path


def package(root: Path, socket: int, energy_uj: int) -> Path:
    """The zone of a CPU package."""
    return zone(root, f"intel-rapl:{socket}", f"package-{socket}", energy_uj)


def reading(zone: Path, energy_uj: int | str) -> None:
    """Sets a zone's counter in one step, as the kernel does, because the meter's thread reads at the same time."""
    new = zone / "new"
    new.write_text(f"{energy_uj}\n")
    new.replace(zone / "energy_uj")
