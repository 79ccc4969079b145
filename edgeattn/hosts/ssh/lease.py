"""The device's lease: a lock that the running job holds, so that two jobs never share a device.

The kernel holds it for as long as the job lives, so it cannot go stale. What is written in the file is only for people.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from pathlib import Path
from typing import Any

from edgeattn.errors import DeviceError

_LEASE = "/run/lock/edgeattn.lease"

Document = dict[str, Any]


class Busy(DeviceError):
    """Another job has the device, or the workspace."""


def _lease_file() -> Path:
    """The lock file of the whole device, for all of its accounts; of this account where it has no such folder."""
    path = Path(os.environ.get("EDGEATTN_LEASE") or _LEASE)
    return path if os.access(path.parent, os.W_OK) else Path("lease")


def take() -> int | None:
    """The descriptor that holds the lease, None where another job has it."""
    path = _lease_file()
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW)  # made by another account: O_CREAT would be refused there
    except FileNotFoundError:
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CREAT, 0o666)
        with contextlib.suppress(OSError):
            path.chmod(0o666)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


def holder() -> Document | None:
    """What runs on the device, as its lease says, which any account can write; None where nothing does."""
    path = _lease_file()
    if not is_locked(path):
        return None
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(path.read_text())
        kinds: dict[str, Any] = {
            "workspace": str,
            "command": list,
            "bundle": str,
            "controller": str,
            "since": (int, float),
        }
        if isinstance(found, dict):
            return {key: found[key] for key, kind in kinds.items() if isinstance(found.get(key), kind)}
    return {}


def busy(holder: Document) -> Busy:
    """The error that says who has the device, and since when."""
    what = "".join(map(str, holder.get("command", ["a job"])[:1]))
    minutes = max(0.0, time.time() - holder.get("since", time.time())) / 60
    since = time.strftime("%H:%M:%S", time.localtime(holder.get("since")))
    return Busy(
        f"the device is busy: {what} of {holder.get('bundle', 'a bundle')} for {holder.get('controller', 'somebody')}, "
        f"since {since} by its clock ({minutes:.0f} min)",
        fix="wait for it with --wait, or try later",
    )


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock of a file."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
