"""The CPU quota and memory limit of this process's control groups, version 1 and 2, as containers set them.

Any ancestor may have a limit, so every group from the process's own up to the root of the mount is read, and the
lowest limit counts. See https://docs.kernel.org/admin-guide/cgroup-v2.html and .../cgroup-v1/memory.html.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

# Version 1 writes "no limit" as the highest page-aligned int64, which depends on the page size.
_NO_LIMIT_BYTES = 2**60

_MOST_BYTES = 4 * 2**20 - 1  # Linux refuses to read 4 MiB at once of a file in /proc/sys


@dataclass(frozen=True)
class Limits:
    """None: no limit, or none that this process can see."""

    cpus: float | None
    memory_bytes: int | None


def limits(root: Path = Path("/")) -> Limits:
    """The limits of this process's control groups; /proc and the mounted groups are read below `root`."""
    groups = _groups(root)
    cpus: list[float] = []
    memory: list[int] = []
    for line in (read(root / "proc/self/mountinfo") or "").splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 5 or len(kind) < 3 or kind[0] not in ("cgroup", "cgroup2"):
            continue
        mount = root / fields[4].lstrip("/")
        options = kind[2].split(",")
        if kind[0] == "cgroup2":
            for folder in _ancestry(groups.get(""), fields[3], mount):
                cpus += _cpu_max(folder)
                memory += _bytes(folder / "memory.max")
        if kind[0] == "cgroup" and "cpu" in options:
            for folder in _ancestry(groups.get("cpu"), fields[3], mount):
                cpus += _cfs_quota(folder)
        if kind[0] == "cgroup" and "memory" in options:
            for folder in _ancestry(groups.get("memory"), fields[3], mount):
                memory += _bytes(folder / "memory.limit_in_bytes")
    return Limits(cpus=min(cpus, default=None), memory_bytes=min(memory, default=None))


def read(path: Path) -> str | None:
    """A file of /proc or /sys without its trailing newline or NUL; None where it cannot be read.

    No more than 4 MiB of it: /proc/cpuinfo of a thousand cores is half of that.
    """
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            return file.read(_MOST_BYTES).decode("utf-8", errors="replace").strip("\0\n ")
    except OSError:
        return None


def read_int(path: Path) -> int | None:
    """The number in a file of /proc or /sys; None where the file has no number."""
    try:
        return int(read(path) or "")
    except ValueError:
        return None


def _groups(root: Path) -> dict[str, str]:
    """Controller -> this process's group; the only hierarchy of version 2 has the empty name."""
    found = {}
    for line in (read(root / "proc/self/cgroup") or "").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        for controller in controllers.split(","):
            found[controller] = group
    return found


def _ancestry(group: str | None, mount_root: str, mount: Path) -> Iterator[Path]:
    """The folders from the process's own group up to where the hierarchy is mounted.

    Inside a container without a cgroup namespace, /proc/self/cgroup shows the host's path while only the part
    below `mount_root` is mounted; the mount itself is then the container's own group.
    """
    yield mount
    try:
        below = PurePosixPath(group or "/").relative_to(mount_root)
    except ValueError:
        return
    if ".." in below.parts:
        return
    for part in below.parts:
        mount = mount / part
        yield mount


def _cpu_max(folder: Path) -> list[float]:
    quota, _, period = (read(folder / "cpu.max") or "").partition(" ")
    return [int(quota) / int(period)] if quota.isdigit() and period.isdigit() and int(period) else []


def _cfs_quota(folder: Path) -> list[float]:
    quota, period = read_int(folder / "cpu.cfs_quota_us"), read_int(folder / "cpu.cfs_period_us")
    return [quota / period] if quota and period and quota > 0 else []


def _bytes(path: Path) -> list[int]:
    value = read_int(path)  # version 2's "max" is no number
    return [value] if value is not None and value < _NO_LIMIT_BYTES else []
