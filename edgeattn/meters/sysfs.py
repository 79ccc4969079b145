"""Sensor files of /sys: small, one value each, written by a driver."""

from __future__ import annotations

from pathlib import Path

from edgeattn.meters.faults import Dropout, SensorError

_MOST = 256  # characters


def text(path: Path, *, closed: str | None = None) -> str:
    """What the file says. Raises SensorError; Dropout where the driver had no answer this time.

    closed: the remedy where only another user may read it.
    """
    try:
        with path.open("rb") as file:
            return file.read(_MOST).decode("ascii", errors="replace").strip()
    except PermissionError:
        raise SensorError(f"{path.name} cannot be read: {closed or f'sudo chmod a+r {path}'}") from None
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as cause:
        raise SensorError(f"{path.name} cannot be read: {cause.strerror}") from None
    except OSError as cause:  # the bus was busy, or the driver had no data yet
        raise Dropout(f"{path.name} cannot be read: {cause.strerror}") from None


def number(path: Path, *, closed: str | None = None) -> int:
    """The integer that the file says. Raises as `text`, and SensorError where it is none."""
    found = text(path, closed=closed)
    try:
        return int(found)
    except ValueError:
        raise SensorError(f"{path.name} is {found[:40]!r}, not a number") from None
