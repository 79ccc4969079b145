"""Which start of the machine this is."""

from __future__ import annotations

from pathlib import Path


def boot_id(root: Path = Path("/")) -> str | None:
    """The kernel's random name for the time since the machine was started; None where it cannot be read.

    root: the folder that has /proc.
    """
    try:
        return (root / "proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
