"""Whether this machine is the device of a profile, and which of the profile's runtimes it has."""

from __future__ import annotations

import json
from collections.abc import Mapping

from packaging.version import Version
from pydantic import ValidationError

from edgeattn.bundle import Bundle
from edgeattn.devices import CpuFacts, DeviceProfile, RuntimeSupport, device_names, load_device, probe_cpu
from edgeattn.devices.probe import usable_memory_bytes
from edgeattn.errors import BundleError, DeviceError
from edgeattn.manifest import MANIFEST
from edgeattn.runtimes import RUNTIMES

_STATED = {"model": "its processor is", "cores": "its cores are", "threads": "its threads are"}
_INSTALL = "install it in that version or a later one; `edgeattn doctor` shows what is installed"


def installed_here() -> dict[str, str | None]:
    """Runtime -> the version that is installed here; None where it is not."""
    return {name: RUNTIMES[name].version() for name in RUNTIMES}


def difference(profile: DeviceProfile, cpu: CpuFacts) -> str | None:
    """Why a machine with the processor `cpu` is not the device of `profile`; None where it is.

    A profile that probes is of any machine. Another is recognised by each fact that it states of its processor.
    """
    if profile.probe:
        return None
    stated = profile.cpu
    facts = {} if stated is None else stated.model_dump(include={"model", "cores", "threads"}, exclude_none=True)
    sets = set(stated.instruction_sets) if stated else set()
    if not facts and not sets:
        return "the profile states nothing of its processor to recognise it by"
    for key, value in facts.items():
        if getattr(cpu, key) != value:
            return f"{_STATED[key]} {getattr(cpu, key) or 'unknown'} here, {value} there"
    if missing := sets - set(cpu.instruction_sets):
        return f"its processor lacks {', '.join(sorted(missing))}"
    return None


def target_here(bundle: Bundle) -> DeviceProfile:
    """The profile of the bundle's target, read here: its processor is this machine's, its runtimes those installed.

    Raises DeviceError where this machine is not the target, or has no runtime that the bundle needs in a version that
    the profile allows; BundleError where the bundle has no profile.
    """
    profile, cpu = _profile(bundle), probe_cpu()
    require_device(profile, cpu, str(bundle.path / MANIFEST), made_by="compile")
    needed = {engine.runtime for engine in bundle.manifest.engines.values()}
    installed = installed_here()
    for support in profile.runtimes:
        if support.name in needed and (problem := runtime_problem(support, installed)):
            raise DeviceError(problem, where=profile.name, fix=_INSTALL)
    runtimes = usable_runtimes(profile, installed)
    return profile.model_copy(
        update={"cpu": cpu, "memory_bytes": profile.memory_bytes or usable_memory_bytes(), "runtimes": runtimes}
    )


def require_device(profile: DeviceProfile, cpu: CpuFacts, where: str, *, made_by: str) -> None:
    """Raise DeviceError unless this machine, with the processor `cpu`, is the device of `profile`.

    where: that names it. made_by: the command that took the name as --target.
    """
    if reason := difference(profile, cpu):
        raise DeviceError(
            f"{profile.name} is not this machine: {reason}",
            where=where,
            fix=f"run this command on {profile.name}; for this machine, {made_by} with --target cpu",
        )


def _profile(bundle: Bundle) -> DeviceProfile:
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
