"""Whether this machine is the device of a profile, and which of the profile's runtimes it has."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from packaging.version import Version
from pydantic import ValidationError

from edgeattn.bundle import Bundle
from edgeattn.devices import (
    BoardFacts,
    CpuFacts,
    DeviceProfile,
    GpuFacts,
    Machine,
    RuntimeSupport,
    device_names,
    load_device,
    machine_here,
    usable_memory_bytes,
)
from edgeattn.devices.load import UNKNOWN
from edgeattn.errors import BundleError, DeviceError
from edgeattn.manifest import MANIFEST
from edgeattn.runtimes import RUNTIMES

_STATED = {"model": "its processor is", "cores": "its cores are", "threads": "its threads are"}
_INSTALL = "install it in that version or a later one; `edgeattn doctor` shows what is installed"


def installed_here() -> dict[str, str | None]:
    """Runtime -> the version that is installed here; None where it is not."""
    return {name: RUNTIMES[name].version() for name in RUNTIMES}


def difference(profile: DeviceProfile, machine: Machine) -> str | None:
    """Why a machine is not the device of `profile`; None where it is.

    A profile that probes is of any machine. Another is recognised by each fact that it states: architecture, module,
    GPU, processor. A module has one GPU and one processor, of which a power mode may have switched cores off; so where
    a module is stated, those are not compared. Nor are power modes, which change with the firmware.
    """
    if profile.probe:
        return None
    if not (profile.architecture or profile.modules or profile.gpu or _comparable(profile.cpu)):
        return "the profile states nothing to recognise it by"
    if profile.architecture and machine.architecture != profile.architecture:
        return f"its architecture is {machine.architecture or 'unknown'} here, {profile.architecture} there"
    if profile.modules:
        return _other_module(profile.modules, machine.board.module)
    return _other_gpu(profile.gpu, machine.board) or _other_cpu(profile.cpu, machine.cpu)


def _other_module(modules: tuple[str, ...], found: str | None) -> str | None:
    if found is not None and any(found == each or found.startswith(f"{each}-") for each in modules):
        return None
    return f"its module is {found or 'unknown'} here, {' or '.join(modules)} there"


def _other_gpu(gpu: GpuFacts | None, board: BoardFacts) -> str | None:
    if gpu is None:
        return None
    if board.sm is None and not board.gpus:
        return "it has no NVIDIA GPU that edgeattn can see"
    if gpu.sm is not None and board.sm != gpu.sm:
        return f"its GPU has compute capability {board.sm or 'unknown'} here, {gpu.sm} there"
    return None


def _other_cpu(stated: CpuFacts | None, cpu: CpuFacts) -> str | None:
    facts = _comparable(stated)
    sets = facts.pop("instruction_sets", ())
    for key, value in facts.items():
        found = getattr(cpu, key)
        # The probe adds the board's name to the processor's: "Cortex-A76 (Raspberry Pi 5 Model B Rev 1.0)".
        if found != value and not (key == "model" and str(found).startswith(f"{value} (")):
            return f"{_STATED[key]} {found or 'unknown'} here, {value} there"
    if missing := set(sets) - set(cpu.instruction_sets):
        return f"its processor lacks {', '.join(sorted(missing))}"
    return None


def _comparable(stated: CpuFacts | None) -> dict[str, Any]:
    """What is compared of a processor: its clocks and caches are not, which a container may hide."""
    names = {*_STATED, "instruction_sets"}
    return stated.model_dump(include=names, exclude_defaults=True) if stated else {}


def device_here(machine: Machine) -> DeviceProfile | None:
    """The shipped profile that says most of a machine; None where only `cpu` fits, which fits any."""
    profiles = (load_device(name, probed=UNKNOWN) for name in device_names())
    fitting = [profile for profile in profiles if not profile.probe and difference(profile, machine) is None]
    return max(fitting, key=lambda profile: _closeness(profile, machine), default=None)


def _closeness(profile: DeviceProfile, machine: Machine) -> tuple[float, ...]:
    """Orders the profiles that fit a machine. One module has a profile for each set of power modes of its firmware."""
    stated, found = {mode.name for mode in profile.power_modes}, set(machine.board.power_modes)
    cpu = profile.cpu or CpuFacts()
    return (
        bool(profile.modules),
        len(stated & found) / (len(stated | found) or 1),
        bool(profile.gpu and profile.gpu.sm),
        bool(profile.gpu),
        sum(getattr(cpu, key) is not None for key in _STATED),
        len(cpu.instruction_sets),
    )


def require_release(profile: DeviceProfile, board: BoardFacts, who: str) -> None:
    """Raise DeviceError where the L4T of a board is in none of the releases that the profile knows.

    who: the machine, for the message. An L4T that cannot be read is not refused.
    """
    # A release with another TensorRT on the same L4T is listed after the one whose TensorRT that L4T brings.
    known = {release.l4t_range: release.name for release in reversed(profile.software) if release.l4t_range}
    if board.l4t is None or not known or profile.release(board.l4t):
        return
    ranges = reversed([f"{l4t} ({name})" for l4t, name in known.items()])
    raise DeviceError(
        f"{who} has L4T {board.l4t}, which {profile.name} does not know; it knows {', '.join(ranges)}",
        where=profile.name,
        fix="install one of these JetPack releases there, or give --target a profile of your own that extends "
        f"{profile.name} and adds this release to `software:`",
    )


def target_here(bundle: Bundle) -> DeviceProfile:
    """The profile of the bundle's target, read here: its processor is this machine's, its runtimes those installed.

    Raises DeviceError where this machine is not the target, or has no runtime that the bundle needs in a version that
    the profile allows; BundleError where the bundle has no profile.
    """
    profile, machine = profile_of(bundle), machine_here()
    require_device(profile, machine, str(bundle.path / MANIFEST), made_by="compile")
    require_release(profile, machine.board, "this machine")
    needed = {engine.runtime for engine in bundle.manifest.engines.values()}
    installed = installed_here()
    for support in profile.runtimes:
        if support.name in needed and (problem := runtime_problem(support, installed)):
            raise DeviceError(problem, where=profile.name, fix=_INSTALL)
    runtimes = usable_runtimes(profile, installed)
    memory_bytes = profile.memory_bytes or usable_memory_bytes()
    return profile.model_copy(update={"cpu": machine.cpu, "memory_bytes": memory_bytes, "runtimes": runtimes})


def left_out_here(bundle: Bundle) -> dict[str, str]:
    """Runtime of the bundle's target -> why it cannot be used here."""
    installed = installed_here()
    problems = {support.name: runtime_problem(support, installed) for support in profile_of(bundle).runtimes}
    return {name: problem for name, problem in problems.items() if problem}


def require_device(profile: DeviceProfile, machine: Machine, where: str, *, made_by: str) -> None:
    """Raise DeviceError unless this machine, `machine`, is the device of `profile`.

    where: that names it. made_by: the command that took the name as --target.
    """
    if reason := difference(profile, machine):
        raise DeviceError(
            f"{profile.name} is not this machine: {reason}",
            where=where,
            fix=f"run this command on {profile.name}; for this machine, {made_by} with --target cpu",
        )


def profile_of(bundle: Bundle) -> DeviceProfile:
    """The profile of the bundle's target: the one that ships with edgeattn, or the one that came with the bundle."""
    name = bundle.manifest.target.get("name")
    if name in device_names():
        return load_device(name)
    try:
        # From JSON text, because strict validation takes lists for tuples only there.
        return DeviceProfile.model_validate_json(json.dumps(bundle.manifest.target))
    except ValidationError as error:
        first = error.errors()[0]
        raise BundleError(
            f"target.{'.'.join(map(str, first['loc']))}: {first['msg']}",
            where=str(bundle.path / MANIFEST),
            fix="compile the bundle again",
        ) from error


def usable_runtimes(device: DeviceProfile, installed: Mapping[str, str | None]) -> tuple[RuntimeSupport, ...]:
    """The runtimes of the profile that are installed in a version that it allows, in its order of preference.

    installed: runtime -> version. Raises DeviceError where there is none, with what is installed and what is needed.
    """
    problems = {support.name: runtime_problem(support, installed) for support in device.runtimes}
    usable = tuple(support for support in device.runtimes if problems[support.name] is None)
    if not usable:
        facts = "; ".join(problem for problem in problems.values() if problem)
        raise DeviceError(f"no runtime for {device.name}: {facts}", fix=_INSTALL)
    return usable


def runtime_problem(support: RuntimeSupport, installed: Mapping[str, str | None]) -> str | None:
    """None if the runtime can be used, else why not, such as "onnxruntime 1.19 is installed, 1.20 or later is needed".

    installed: runtime -> version, None where it is not installed.
    """
    name, needed = support.name, support.min_version
    version = installed.get(name)
    if version is None:
        return f"{name} is not installed" if name in RUNTIMES else f"this edgeattn has no runtime {name}"
    if needed and Version(version) < Version(needed):
        return f"{name} {version} is installed, {needed} or later is needed"
    return None
