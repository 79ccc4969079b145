"""Whether a bundle for a device can be built and measured here, and with which runtime."""

from __future__ import annotations

import json

from packaging.version import Version
from pydantic import ValidationError

from edgeattn.bundle import Bundle
from edgeattn.devices import DeviceProfile, RuntimeSupport, device_names, load_device, probe_cpu
from edgeattn.errors import BundleError, DeviceError
from edgeattn.manifest import MANIFEST
from edgeattn.runtimes import RUNTIMES

_INSTALL = "install it in that version or a later one; `edgeattn doctor` shows what is installed"


def require_here(device: DeviceProfile, *, where: str, fix: str) -> None:
    """Raise DeviceError unless this machine is the device, so that results are never labelled as another device's.

    where, fix: the place of the device's name, and what to do instead.
    """
    # A profile that probes may state another processor, or have been read on another machine.
    if not device.probe or device.cpu != probe_cpu():
        raise DeviceError(f"{device.name} is not this machine", where=where, fix=fix)


def target_here(bundle: Bundle) -> DeviceProfile:
    """The profile of the bundle's target, read here: a profile that probes gets this machine's processor.

    Raises DeviceError where this machine is not the target, or has an older runtime than the profile allows;
    BundleError where the bundle has no profile.
    """
    profile, manifest = _profile(bundle), str(bundle.path / MANIFEST)
    require_here(
        profile, where=manifest, fix=f"run this command on {profile.name}; for this machine, compile with --target cpu"
    )
    used = {engine.runtime for engine in bundle.manifest.engines.values()}
    for support in profile.runtimes:
        if support.name in used and (problem := runtime_problem(support)):
            raise DeviceError(problem, where=profile.name, fix=_INSTALL)
    return profile


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


def supported(device: DeviceProfile) -> RuntimeSupport:
    """The first runtime of the profile that is installed here in a version that the profile allows.

    Raises DeviceError where there is none, with what is installed and what is needed.
    """
    problems = []
    for support in device.runtimes:
        problem = runtime_problem(support)
        if problem is None:
            return support
        problems.append(problem)
    raise DeviceError(
        f"no runtime for {device.name}: {'; '.join(problems)}",
        fix=_INSTALL,
    )


def runtime_problem(support: RuntimeSupport) -> str | None:
    """None if the runtime can be used here, else why not, such as "onnxruntime 1.19 is older than 1.20"."""
    name, needed = support.name, support.min_version
    installed = RUNTIMES[name].version() if name in RUNTIMES else None
    if installed is None:
        return f"{name} is not installed" if name in RUNTIMES else f"this edgeattn has no runtime {name}"
    if needed and Version(installed) < Version(needed):
        return f"{name} {installed} is installed, {needed} or later is needed"
    return None
