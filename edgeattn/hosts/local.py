"""This machine as a host: jobs are called, nothing is copied."""

from __future__ import annotations

import platform
import shutil
from pathlib import Path
from typing import Any

from edgeattn import __version__
from edgeattn.devices import board_facts, fingerprint, load_device, system_root
from edgeattn.hosts.base import HostFacts
from edgeattn.hosts.boot import boot_id
from edgeattn.jobs import DeviceJob
from edgeattn.progress import Progress
from edgeattn.scratch import scratch
from edgeattn.store import copy_folder


class LocalHost:
    """This machine. record: let a job write into the bundle; False works on a copy."""

    name = "local"

    def __init__(self, *, record: bool = True) -> None:
        self._record = record

    def run(self, job: DeviceJob, folder: Path, progress: Progress) -> dict[str, Any]:
        if self._record:
            return job.run(folder, progress)
        with scratch("bundle") as copy:
            copy_folder(folder, copy / "bundle")
            return job.run(copy / "bundle", progress)

    def probe(self) -> HostFacts:
        return facts_here()

    def cancel(self) -> None:
        """Does nothing: a job in a thread of this process ends with the process."""


def facts_here(root: Path | None = None) -> HostFacts:
    """The facts of this machine. root: the folder that has /proc and /sys; `system_root()` when None."""
    root = root or system_root()
    found = fingerprint(root)
    return HostFacts(
        edgeattn=__version__,
        python=platform.python_version(),
        architecture=found["architecture"],
        fingerprint=found,
        runtimes={name: version for name, version in found["runtimes"].items() if version is not None},
        profile=load_device("cpu", root=root),
        board=board_facts(root),
        free_bytes=shutil.disk_usage(Path.home()).free,
        boot_id=boot_id(root),
    )
