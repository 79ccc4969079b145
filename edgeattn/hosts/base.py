"""The contract of a host: it runs jobs on bundles, and says what it has."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from edgeattn.devices import BoardFacts, DeviceProfile
from edgeattn.jobs import DeviceJob
from edgeattn.progress import Progress
from edgeattn.validation import Part


class HostFacts(Part):
    """What a host has, as JSON; None is unknown.

    fingerprint: see `edgeattn.devices.fingerprint`. runtimes: name -> version of those that are installed.
    profile: of the device `cpu`, with what was probed there. board: what it is
    recognised by, beside processor and architecture. free_bytes: where its jobs write. boot_id: the kernel's, another
    after each start of the machine.
    """

    edgeattn: str
    python: str
    architecture: str | None
    fingerprint: dict[str, Any]
    runtimes: dict[str, str]
    profile: DeviceProfile
    board: BoardFacts = BoardFacts()
    free_bytes: int | None
    boot_id: str | None


class Host(Protocol):
    """A machine that runs jobs.

    name: for messages and tables.
    """

    name: str

    def run(self, job: DeviceJob, folder: Path, progress: Progress) -> dict[str, Any]:
        """Run a job on the bundle in `folder`, which then has the evidence. Returns the job's document.

        Raises EdgeattnError as the job does, and DeviceError where the host cannot be reached or used.
        """
        ...

    def probe(self) -> HostFacts:
        """What the host has. Raises DeviceError where it cannot be reached or used."""
        ...

    def cancel(self) -> None:
        """End the `run` that another thread waits for; it then raises KeyboardInterrupt."""
        ...
