"""Which device a machine is, as commands say it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeattn.devices import Machine

_OLDEST_PYTHON = "3.10"  # of edgeattn's device half


def device_document(machine: Machine, runtimes: Mapping[str, str | None]) -> dict[str, Any]:
    """The device that a machine is, as JSON. runtimes: name -> version that is installed there.

    device: the profile that says most of it; None where only cpu fits. not_run: the parts of
    edgeattn that its developers have not run on such a device.
    """
    from edgeattn.recognition import device_here

    profile, board = device_here(machine), machine.board
    release = profile.release(board.l4t) if profile and board.l4t else None
    return {
        "device": profile and profile.name,
        "description": profile and profile.description,
        "board": board.model,
        "module": board.module,
        "l4t": board.l4t,
        "release": release and release.name,
        "release_python": release and release.python,
        "tensorrt": runtimes.get("tensorrt"),
        "power_mode": board.power_mode,
        "power_modes": list(board.power_modes),
        "gpus": list(board.gpus),
        "sm": board.sm,
        "not_run": list(profile.not_run) if profile else [],
    }


def device_lines(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(label, text) of what is known of the device."""
    yield "device", f"{document['device']}: {document['description']}" if document["device"] else "cpu, as any machine"
    if document["board"]:
        yield "board", document["board"] + (f", module {document['module']}" if document["module"] else "")
    if document["l4t"]:
        yield "L4T", f"{document['l4t']} ({document['release'] or 'of no release that the profile knows'})"
        yield "TensorRT", document["tensorrt"] or _no_tensorrt(document["release"], document["release_python"])
    if document["power_modes"]:
        yield "power mode", f"{document['power_mode'] or 'unknown'}, of {', '.join(document['power_modes'])}"
    if document["gpus"] or document["sm"]:
        capability = f"compute capability {document['sm'] or 'unknown'}"
        yield "GPU", ", ".join((*document["gpus"], capability))


def _no_tensorrt(release: str | None, python: str | None) -> str:
    """Why none is found on a Jetson. python: the version that its TensorRT module is for."""
    from packaging.version import Version

    if python and Version(python) < Version(_OLDEST_PYTHON):
        return (
            f"{release} has it for Python {python}, and edgeattn needs {_OLDEST_PYTHON} or later: "
            "build the bundle's graphs with trtexec"
        )
    return "not found by this Python: make its environment with --system-site-packages"
