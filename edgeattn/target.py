"""The target of a recipe: a device profile, the runtimes that it allows and the device has, and where the work runs.

A target is resolved once, before anything is trained. On the device, `edgeattn.recognition` checks that this machine
is it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgeattn.devices import CpuFacts, DeviceProfile, Machine, load_device, machine_here
from edgeattn.devices.load import UNKNOWN
from edgeattn.errors import DeviceError
from edgeattn.hosts.base import Host
from edgeattn.recognition import difference, require_release, usable_runtimes


@dataclass(frozen=True)
class Target:
    """What a recipe is compiled for.

    profile: with the runtimes that the host has; all of them where there is no host. host: None where the bundle is
    left unbuilt. machine: the host's fingerprint.
    """

    profile: DeviceProfile
    host: Host | None
    machine: Mapping[str, Any]


def resolve(name: str, host: Host | None) -> Target:
    """The target `name`, a device or the path of a profile, on a host; without one the bundle is left unbuilt.

    Raises InputError for a profile that cannot be read, DeviceError where the host is not the device or has none of
    its runtimes, or has system software that the profile does not know.
    """
    if host is None:
        return Target(load_device(name, probed=UNKNOWN), None, {})
    facts = host.probe()
    cpu, memory_bytes = facts.profile.cpu, facts.profile.memory_bytes
    profile = load_device(name, probed=(cpu, memory_bytes))
    if reason := difference(profile, Machine(cpu or CpuFacts(), facts.board, facts.architecture)):
        raise DeviceError(
            f"{host.name} is not {profile.name}: {reason}",
            where="--host",
            fix="name a host that is one with --host, or leave the bundle unbuilt with --host none",
        )
    require_release(profile, facts.board, host.name)
    found = {
        "runtimes": usable_runtimes(profile, facts.runtimes),
        "cpu": _laid_over(profile.cpu, cpu),
        "memory_bytes": profile.memory_bytes or memory_bytes,
    }
    return Target(profile.model_copy(update=found), host, facts.fingerprint)


def _laid_over(stated: CpuFacts | None, found: CpuFacts | None) -> CpuFacts | None:
    """What the profile states of its processor, and for the rest what was found on the host."""
    if stated is None or found is None:
        return stated or found
    return found.model_copy(update=stated.model_dump(exclude_defaults=True))


def default_host(name: str) -> str:
    """The host of the target `name` where the user names none: this machine if it is the target, else none."""
    return "none" if difference(load_device(name), machine_here()) else "local"
