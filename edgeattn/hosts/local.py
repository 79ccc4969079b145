"""This machine as a host: jobs are called, nothing is copied."""

from __future__ import annotations

import platform
import shutil
from pathlib import Path
from typing import Any

from edgeattn import __version__
from edgeattn.devices import fingerprint, load_device
from edgeattn.devices.cgroup import read
from edgeattn.hosts.base import HostFacts
from edgeattn.jobs import DeviceJob
from edgeattn.progress import Progress


class LocalHost:
    """This machine."""

    name = "local"

    def run(self, job: DeviceJob, folder: Path, progress: Progress) -> dict[str, Any]:
        return job.run(folder, progress)

    def probe(self) -> HostFacts:
        return facts_here()

    def cancel(self) -> None:
        """Does nothing: a job in a thread of this process ends with the process."""


def facts_here(root: Path = Path("/")) -> HostFacts:
    """The facts of this machine. root: the folder that has /proc and /sys."""
    found = fingerprint(root)
    return HostFacts(
        edgeattn=__version__,
        python=platform.python_version(),
        architecture=platform.machine(),
        fingerprint=found,
        runtimes={name: version for name, version in found["runtimes"].items() if version is not None},
        profile=load_device("cpu", root=root),
        free_bytes=shutil.disk_usage(Path.home()).free,
        boot_id=boot_id(root),
    )


def boot_id(root: Path = Path("/")) -> str | None:
    """The kernel's random name for the time since the machine was started. root: the folder that has /proc."""
    return read(root / "proc/sys/kernel/random/boot_id")
