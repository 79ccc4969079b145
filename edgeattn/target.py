"""Whether a bundle for a device can be built and measured here, and with which runtime."""

from __future__ import annotations

from packaging.version import Version

from edgeattn.devices import DeviceProfile, RuntimeSupport, probe_cpu
from edgeattn.errors import DeviceError
from edgeattn.runtimes import RUNTIMES


def require_here(device: DeviceProfile, *, where: str, fix: str) -> None:
    """Raise DeviceError unless this machine is the device, so that no result of this one is labelled as its own.

    where, fix: the place of the device's name, and what to do instead.
    """
    # A profile that probes may state another processor, or have been read on another machine.
    if not device.probe or device.cpu != probe_cpu():
        raise DeviceError(f"{device.name} is another device than this machine", where=where, fix=fix)


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
        fix="install one of these, or a newer version; `edgeattn doctor` shows what is installed",
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
