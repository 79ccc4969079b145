"""No host: the bundle is left unbuilt, with the commands that build it on its device."""

from __future__ import annotations

from edgeattn import __version__
from edgeattn.bundle import Bundle
from edgeattn.manifest import INSTALL
from edgeattn.runtimes import RUNTIMES

_TEXT = """# Build {name} on its device

This bundle is for the target `{target}`. It holds {count} candidates and no engine yet: engines are built and timed
on the device that runs them.

On the device, with Python 3.10 or later:

    python3 -m venv --system-site-packages edgeattn-venv
    edgeattn-venv/bin/pip install 'edgeattn[{extras}]=={version}'

`--system-site-packages` lets the environment use runtimes that came with the system. Then copy this folder there, and
in the folder that holds it:

    edgeattn-venv/bin/edgeattn build {folder}
    edgeattn-venv/bin/edgeattn verify {folder}
    edgeattn-venv/bin/edgeattn bench {folder}

`build` keeps the fastest candidate that keeps the accuracy floor. After it, the bundle has `model.onnx`, `engine/`
and `report.html`.

From a workstation that reaches the device by SSH, one command does it all:

    edgeattn hosts add NAME user@device
    edgeattn compile RECIPE --target {target} --host NAME
"""


def leave_unbuilt(bundle: Bundle) -> None:
    """Record install.md in a bundle that has candidates only."""
    manifest = bundle.manifest
    runtimes = dict.fromkeys(name for candidate in manifest.candidates for name in candidate.runtimes)
    text = _TEXT.format(
        name=manifest.name,
        target=manifest.target.get("name"),
        count=len(manifest.candidates),
        extras=",".join(RUNTIMES[name].extra for name in runtimes),
        version=__version__,
        folder=bundle.path.name,
    )
    bundle.record(INSTALL, text)
