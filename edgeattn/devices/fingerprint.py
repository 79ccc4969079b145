"""The facts of this machine that change a measurement."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

from edgeattn.devices.cgroup import read
from edgeattn.devices.probe import probe_cpu, usable_cores, usable_memory_bytes

# Settings that change the clocks. nvpmodel is NVIDIA's tool on Jetson boards; its file has a line such as "pmode:0002".
_POWER = {
    "governor": "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
    "energy_preference": "sys/devices/system/cpu/cpu0/cpufreq/energy_performance_preference",
    "boost": "sys/devices/system/cpu/cpufreq/boost",
    "no_turbo": "sys/devices/system/cpu/intel_pstate/no_turbo",
    "platform_profile": "sys/firmware/acpi/platform_profile",
    "nvpmodel": "var/lib/nvpmodel/status",
}


def fingerprint(root: Path = Path("/")) -> dict[str, Any]:
    """Facts as JSON that are the same from run to run on one machine; a fact that cannot be read is None.

    Measured results are stored under it, so another machine, power mode or runtime version measures again. Left out:
    load, free memory, momentary clocks, the host name.
    """
    # Imported here: a runtime asks this package for the machine's cores.
    from edgeattn.runtimes import RUNTIMES

    cpu, memory_bytes = probe_cpu(root), usable_memory_bytes(root)
    return {
        "cpu_model": cpu.model,
        "architecture": platform.machine(),
        "instruction_sets": list(cpu.instruction_sets),
        "cores": cpu.cores,
        "threads": cpu.threads,
        "usable_cores": usable_cores(root),
        # Another kernel reserves some megabytes more or less.
        "memory_gib": None if memory_bytes is None else round(memory_bytes / 2**30, 1),
        "power": {name: read(root / file) for name, file in _POWER.items()},
        "runtimes": {name: RUNTIMES[name].version() for name in RUNTIMES},
    }
