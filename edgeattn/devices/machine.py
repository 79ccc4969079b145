"""What a machine is recognised by."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgeattn.devices.board import BoardFacts, board_facts
from edgeattn.devices.probe import architecture, probe_cpu
from edgeattn.devices.profile import CpuFacts
from edgeattn.devices.root import system_root


@dataclass(frozen=True)
class Machine:
    """A machine's facts. architecture: as `uname -m` says it; None is unknown."""

    cpu: CpuFacts
    board: BoardFacts
    architecture: str | None


def machine_here(root: Path | None = None) -> Machine:
    """This machine. root: the folder that has its /proc and /sys; `system_root()` when None."""
    root = root or system_root()
    return Machine(probe_cpu(root), board_facts(root), architecture(root))
