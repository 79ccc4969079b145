"""No host: the bundle is left unbuilt, with install.md, the commands that build it on its device."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator

from edgeattn import __version__
from edgeattn.bundle import Bundle
from edgeattn.devices import DeviceProfile
from edgeattn.hosts import on_tensorrt
from edgeattn.manifest import INSTALL, Manifest
from edgeattn.runtimes import RUNTIMES


def leave_unbuilt(bundle: Bundle) -> None:
    """Record install.md in a bundle that has candidates only."""
    bundle.record(INSTALL, "\n".join(_sections(bundle)))


def _sections(bundle: Bundle) -> Iterator[str]:
    manifest = bundle.manifest
    # From JSON text, because strict validation takes lists for tuples only there.
    profile = DeviceProfile.model_validate_json(json.dumps(manifest.target))
    runtimes = list(dict.fromkeys(name for candidate in manifest.candidates for name in candidate.runtimes))
    extras = ",".join(RUNTIMES[name].extra for name in runtimes)
    requirement = shlex.quote(f"edgeattn[{extras}]=={__version__}")
    not_run = list(profile.not_run)
    yield _head(manifest, profile)
    yield _install(requirement, profile, jetson="tensorrt" in runtimes and any(each.l4t for each in profile.software))
    yield _build(manifest)
    if "tensorrt" in runtimes:
        yield from on_tensorrt.sections(bundle, profile, requirement)
        not_run.append("the lines of trtexec, polygraphy and docker on this page")
    yield _workstation(profile)
    if not_run:
        yield _not_run(not_run)


def _head(manifest: Manifest, profile: DeviceProfile) -> str:
    return f"""# Build {manifest.name} on its device

This bundle is for the target `{profile.name}`. It holds {len(manifest.candidates)} candidates and no engine yet:
engines are built and timed on the device that runs them.

Copy this folder to the device under the name `{manifest.name}`. Type what follows there, in the folder that holds it.
"""


def _install(requirement: str, profile: DeviceProfile, *, jetson: bool) -> str:
    venv, packages = on_tensorrt.VENV, "python3-venv python3-libnvinfer" if jetson else "python3-venv"
    text = f"""## Install

edgeattn needs Python {on_tensorrt.OLDEST_PYTHON} or later.

    sudo apt-get install --yes {packages}
    python3 -m venv --system-site-packages {venv}
    {venv}/bin/pip install {requirement}
    {venv}/bin/edgeattn doctor

`--system-site-packages` lets the environment use runtimes that came with the system, such as JetPack's own TensorRT
module. `doctor` says which it found.
"""
    for release in profile.software:
        if on_tensorrt.too_old(release):
            text += f"""
{release.name} has its TensorRT module for Python {release.python} only, so edgeattn cannot use it. Upgrade the device
to a later release. Where that is not possible, build the graphs with trtexec, as shown below.
"""
    return text


def _build(manifest: Manifest) -> str:
    edgeattn = f"{on_tensorrt.VENV}/bin/edgeattn"
    return f"""## Build, verify, measure

    {edgeattn} build {manifest.name}
    {edgeattn} verify {manifest.name}
    {edgeattn} bench {manifest.name}

`build` times every candidate and keeps the fastest that keeps the accuracy floor. After it, the bundle has
`model.onnx`, `engine/` and `report.html`. Set the device's power mode first: what is measured holds for that mode.
"""


def _workstation(profile: DeviceProfile) -> str:
    return f"""## Or from a workstation

Where a workstation reaches the device by SSH, two commands there do it all. BOARD is a name of your choice, RECIPE the
recipe that this bundle was made from:

    edgeattn hosts add BOARD user@device
    edgeattn compile RECIPE --target {profile.name} --host BOARD
"""


def _not_run(what: list[str]) -> str:
    lines = "\n".join(f"- {each}" for each in what)
    return f"""## What was not run on hardware

The developers of edgeattn had no such device. They have not run on one:

{lines}
"""
