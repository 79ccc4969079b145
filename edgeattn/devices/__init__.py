"""Device profiles, and facts about this machine."""

from edgeattn.devices.fingerprint import fingerprint
from edgeattn.devices.load import device_names, load_device
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

__all__ = [
    "CpuFacts",
    "DeviceProfile",
    "EnergySource",
    "GpuFacts",
    "Note",
    "Peaks",
    "PowerMode",
    "PowerModel",
    "Release",
    "RuntimeSupport",
    "device_names",
    "fingerprint",
    "load_device",
    "machine_facts",
    "probe_cpu",
    "usable_cores",
    "usable_memory_bytes",
    "usable_threads",
]
