"""Facts about this machine from /proc and /sys, also inside a container.

Every function takes the `root` folder of /proc and /sys, so that tests can give it other machines.
"""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import Any

from edgeattn.devices.board import board_facts, board_model, shown
from edgeattn.devices.cgroup import limits, read, read_int
from edgeattn.devices.profile import CpuFacts
from edgeattn.devices.root import system_root

# The extensions that change how fast a model runs, by the kernel's names; aarch64 calls neon asimd.
_INSTRUCTION_SETS = (
    *("sse4_2", "avx", "f16c", "fma", "avx2", "avx_vnni", "avx512f", "avx512bw", "avx512vl", "avx512_vnni"),
    *("avx512_bf16", "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16"),
    *("neon", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2"),
)

# (implementer, part) of /proc/cpuinfo, as in util-linux's lscpu-arm.c: aarch64 kernels give no model name.
_ARM_CORES = {
    ("0x41", "0xd03"): "Cortex-A53",
    ("0x41", "0xd04"): "Cortex-A35",
    ("0x41", "0xd05"): "Cortex-A55",
    ("0x41", "0xd07"): "Cortex-A57",
    ("0x41", "0xd08"): "Cortex-A72",
    ("0x41", "0xd09"): "Cortex-A73",
    ("0x41", "0xd0a"): "Cortex-A75",
    ("0x41", "0xd0b"): "Cortex-A76",
    ("0x41", "0xd0c"): "Neoverse-N1",
    ("0x41", "0xd40"): "Neoverse-V1",
    ("0x41", "0xd41"): "Cortex-A78",
    ("0x41", "0xd42"): "Cortex-A78AE",
    ("0x41", "0xd49"): "Neoverse-N2",
    ("0x41", "0xd4f"): "Neoverse-V2",
    ("0x41", "0xd83"): "Neoverse-V3AE",
    ("0x41", "0xd84"): "Neoverse-V3",
    ("0x41", "0xd85"): "Cortex-X925",
    ("0x41", "0xd87"): "Cortex-A725",
    ("0x4e", "0x004"): "Carmel",
}

_CACHE_SUFFIX = {"Data": "d", "Instruction": "i", "Unified": ""}
_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3}


def probe_cpu(root: Path = Path("/")) -> CpuFacts:
    """The processor of this machine, with the extensions that every core has."""
    processors = _processors(root)
    flags = [set((entry.get("flags") or entry.get("Features") or "").split()) for entry in processors]
    common = set.intersection(*flags) if flags else set()
    if "asimd" in common:
        common.add("neon")
    return CpuFacts(
        model=_model(processors, root),
        cores=_cores(processors, root),
        threads=len(processors) or None,
        instruction_sets=tuple(name for name in _INSTRUCTION_SETS if name in common),
        max_mhz=_max_mhz(root),
        caches_bytes=_caches(root),
    )


def architecture(root: Path = Path("/")) -> str | None:
    """The machine's architecture as `uname -m` says it, such as aarch64."""
    if root == Path("/"):
        return platform.machine()
    if stated := read(root / "proc/sys/kernel/arch"):  # Linux 6.1 or later
        return stated
    first = next(iter(_processors(root)), {})
    return "aarch64" if "CPU implementer" in first else "x86_64" if "flags" in first else None


def usable_cores(root: Path = Path("/")) -> float:
    """Logical cores this process may use: its affinity, narrowed by its CPU quota (such as 1.5)."""
    allowed = float(len(os.sched_getaffinity(0)))
    quota = limits(root).cpus
    return allowed if quota is None else min(allowed, quota)


def usable_threads(root: Path = Path("/")) -> int:
    """Threads that each get a core of their own: `usable_cores` rounded down, at least 1."""
    return max(1, int(usable_cores(root)))


def usable_memory_bytes(root: Path = Path("/")) -> int | None:
    """The memory of this machine, or the container's limit if that is less."""
    found = [value for value in (_meminfo(root, "MemTotal"), limits(root).memory_bytes) if value is not None]
    return min(found, default=None)


def machine_facts(root: Path | None = None) -> dict[str, Any]:
    """Facts about this machine for benchmarks and reports, as JSON. A fact that cannot be read is None.

    root: `system_root()` when None.
    """
    limit, cores = limits(root or Path("/")), usable_cores(root or Path("/"))  # of this process
    root = root or system_root()
    cpu, board = probe_cpu(root), board_facts(root)
    return {
        "cpu_model": cpu.model,
        "board": board.model,
        "module": board.module,
        "l4t": board.l4t,
        "power_mode": board.power_mode,
        "architecture": architecture(root),
        "cores": cpu.cores,
        "threads": cpu.threads,
        "cores_usable": cores,
        "affinity": sorted(os.sched_getaffinity(0)),
        "cpu_quota": limit.cpus,
        "instruction_sets": list(cpu.instruction_sets),
        "max_mhz": cpu.max_mhz,
        "governor": read(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "caches_bytes": cpu.caches_bytes,
        "memory_bytes": _meminfo(root, "MemTotal"),
        "memory_limit_bytes": limit.memory_bytes,
        "memory_available_bytes": _meminfo(root, "MemAvailable"),
        "load_average": _load_average(root),
        "container": in_container(root),
        "kernel": read(root / "proc/sys/kernel/osrelease"),
        "python": platform.python_version(),
    }


def in_container(root: Path = Path("/")) -> bool:
    """Whether there are the usual traces of a container (Docker, Podman, Kubernetes, LXC, systemd-nspawn)."""
    if any((root / name).exists() for name in (".dockerenv", "run/.containerenv", "run/systemd/container")):
        return True
    groups = read(root / "proc/1/cgroup") or ""
    return re.search(r"docker|kubepods|containerd|libpod|/lxc", groups) is not None


def _processors(root: Path) -> list[dict[str, str]]:
    """The blocks of /proc/cpuinfo, one per logical core."""
    blocks = (read(root / "proc/cpuinfo") or "").split("\n\n")
    parsed = []
    for block in blocks:
        pairs = (line.partition(":") for line in block.splitlines())
        entry = {key.strip(): value.strip() for key, _, value in pairs}
        if "processor" in entry:
            parsed.append(entry)
    return parsed


def _model(processors: list[dict[str, str]], root: Path) -> str | None:
    names = dict.fromkeys(_core_name(entry) for entry in processors)
    cores = " + ".join(name for name in names if name)
    cores, board = shown(cores) or "", board_model(root)
    if cores and board:
        return f"{cores} ({board})"
    return cores or board or None


def _core_name(entry: dict[str, str]) -> str | None:
    implementer, part = entry.get("CPU implementer"), entry.get("CPU part")
    # First, because Jetson's kernels add a model name that says less: "ARMv8 Processor rev 1 (v8l)".
    if implementer is None or part is None:
        return entry.get("model name")
    return _ARM_CORES.get((implementer, part)) or entry.get("model name", f"implementer {implementer} part {part}")


def _cores(processors: list[dict[str, str]], root: Path) -> int | None:
    topology = [
        (read(folder / "physical_package_id"), read(folder / "core_id"))
        for folder in (root / "sys/devices/system/cpu").glob("cpu[0-9]*/topology")
    ]
    listed = [(entry.get("physical id"), entry.get("core id")) for entry in processors]
    for pairs in (topology, listed):
        if pairs and all(core is not None for _, core in pairs):
            return len(set(pairs))
    return len(processors) or None


def _max_mhz(root: Path) -> int | None:
    # Not "cpu MHz" of /proc/cpuinfo, which is the momentary clock.
    files = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/cpuinfo_max_freq")
    khz = [value for value in map(read_int, files) if value]
    return max(khz) // 1000 if khz else None


def _caches(root: Path) -> dict[str, int]:
    found = {}
    for folder in sorted((root / "sys/devices/system/cpu/cpu0/cache").glob("index[0-9]*")):
        level, kind, size = (read(folder / name) for name in ("level", "type", "size"))
        match = re.fullmatch(r"(\d+)([KMG]?)", size or "")
        if level and kind in _CACHE_SUFFIX and match and int(match[1]):
            found[f"L{level}{_CACHE_SUFFIX[kind]}"] = int(match[1]) * _UNITS[match[2]]
    return found


def _meminfo(root: Path, field: str) -> int | None:
    match = re.search(rf"^{field}:\s+(\d+) kB$", read(root / "proc/meminfo") or "", re.MULTILINE)
    return int(match[1]) * 1024 if match else None


def _load_average(root: Path) -> list[float] | None:
    match = re.match(r"(\d+\.\d+) (\d+\.\d+) (\d+\.\d+) ", read(root / "proc/loadavg") or "")
    return [float(value) for value in match.groups()] if match else None
