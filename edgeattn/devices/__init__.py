"""Device profiles, and facts about this machine."""

from edgeattn.devices.board import BoardFacts, board_facts
from edgeattn.devices.fingerprint import fingerprint
from edgeattn.devices.load import device_names, load_device
from edgeattn.devices.machine import Machine, machine_here
from edgeattn.devices.probe import machine_facts, probe_cpu, usable_cores, usable_memory_bytes, usable_threads
from edgeattn.devices.profile import (
    CpuFacts,
    DeviceProfile,
    EnergySource,
    GpuFacts,
    Note,
    Peaks,
    PowerMode,
    PowerModel,
    Release,
    RuntimeSupport,
)
from edgeattn.devices.root import system_root

__all__ = [
    "BoardFacts",
    "CpuFacts",
    "DeviceProfile",
    "EnergySource",
    "GpuFacts",
    "Machine",
    "Note",
    "Peaks",
    "PowerMode",
    "PowerModel",
    "Release",
    "RuntimeSupport",
    "board_facts",
    "device_names",
    "fingerprint",
    "load_device",
    "machine_facts",
    "machine_here",
    "probe_cpu",
    "system_root",
    "usable_cores",
    "usable_memory_bytes",
    "usable_threads",
]
