"""The facts of this machine that change a measurement."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeattn.devices.board import board_facts
from edgeattn.devices.cgroup import read
from edgeattn.devices.probe import architecture, probe_cpu, usable_cores, usable_memory_bytes
from edgeattn.devices.root import system_root

# Settings that change the clocks. nvpmodel is NVIDIA's tool on Jetson boards; its file has a line such as "pmode:0002".
_POWER = {
    "governor": "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
    "energy_preference": "sys/devices/system/cpu/cpu0/cpufreq/energy_performance_preference",
    "boost": "sys/devices/system/cpu/cpufreq/boost",
    "no_turbo": "sys/devices/system/cpu/intel_pstate/no_turbo",
    "platform_profile": "sys/firmware/acpi/platform_profile",
    "nvpmodel": "var/lib/nvpmodel/status",
}


def fingerprint(root: Path | None = None) -> dict[str, Any]:
    """Facts as JSON that are the same from run to run on one machine; a fact that cannot be read is None.

    Measured results are stored under it, so another machine, power mode or runtime version measures again. Left out:
    load, free memory, momentary clocks, the host name. root: `system_root()` when None.
    """
    # Imported here: a runtime asks this package for the machine's cores.
    from edgeattn.runtimes import RUNTIMES

    cores = usable_cores(root or Path("/"))  # what this process may use, wherever the other facts are read
    root = root or system_root()
    cpu, board, memory_bytes = probe_cpu(root), board_facts(root), usable_memory_bytes(root)
    return {
        "cpu_model": cpu.model,
        "module": board.module,
        "sm": board.sm,
        "gpus": list(board.gpus),
        "l4t": board.l4t,
        "power_mode": board.power_mode,
        "architecture": architecture(root),
        "instruction_sets": list(cpu.instruction_sets),
        "cores": cpu.cores,
        "threads": cpu.threads,
        "usable_cores": cores,
        # Another kernel reserves some megabytes more or less.
        "memory_gib": None if memory_bytes is None else round(memory_bytes / 2**30, 1),
        "power": {name: read(root / file) for name, file in _POWER.items()},
        "runtimes": {name: RUNTIMES[name].version() for name in RUNTIMES},
    }
