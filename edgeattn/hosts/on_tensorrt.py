"""The part of install.md for a device with TensorRT: memory, NVIDIA's own tools, and a container."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from packaging.version import Version

from edgeattn.build.shapes import shape_ranges
from edgeattn.bundle import Bundle
from edgeattn.devices import DeviceProfile
from edgeattn.devices.profile import Release
from edgeattn.hosts.graph_tools import TYPINGS, Typing, polygraphy, polygraphy_inputs, trtexec
from edgeattn.manifest import Candidate
from edgeattn.runtimes.base import ShapeRange, ShapeRanges
from edgeattn.runtimes.tensorrt_family.memory import WORKSPACE_SHARE

VENV = "edgeattn-venv"
OLDEST_PYTHON = Version("3.10")
_SMALL_BYTES = 8 << 30  # builds were killed on boards with less: NVIDIA/TensorRT#3355, #4220
_INPUTS = "inputs.json"
# NVIDIA's image of JetPack 6.1, with TensorRT 10.3; torch-tensorrt is built in it for JetPack 6.2 (pytorch/TensorRT,
# .github/scripts/filter-matrix.py).
_IMAGE, _RELEASE = "nvcr.io/nvidia/l4t-jetpack:r36.4.0", "JetPack 6.1 to 6.2"


def sections(bundle: Bundle, profile: DeviceProfile, requirement: str) -> Iterator[str]:
    """requirement: what pip installs, quoted for a shell."""
    small = profile.memory_bytes is not None and profile.memory_bytes <= _SMALL_BYTES
    if small:
        yield _MEMORY
    manifest, ranges = bundle.manifest, _spanning(shape_ranges(bundle))
    candidates = [candidate for candidate in manifest.candidates if "tensorrt" in candidate.runtimes]
    workspace = int(profile.memory_bytes * WORKSPACE_SHARE) if small and profile.memory_bytes else None
    yield _TRTEXEC + (_CHECKED if "check.json" in manifest.files else "")
    yield from _blocks(
        profile.software,
        candidates,
        lambda candidate, typing: trtexec(manifest.name, candidate, ranges, manifest, typing, workspace),
    )
    yield _POLYGRAPHY.format(write=polygraphy_inputs(f"{VENV}/bin/python", manifest.name, manifest, _INPUTS))
    program = f"{VENV}/bin/polygraphy"
    yield from _blocks(
        [release for release in profile.software if not too_old(release)],
        candidates,
        lambda candidate, typing: polygraphy(program, manifest.name, candidate, ranges, typing, workspace, _INPUTS),
    )
    if any(release.l4t for release in profile.software):
        yield _CONTAINER.format(image=_IMAGE, release=_RELEASE, requirement=requirement, name=manifest.name)


def too_old(release: Release) -> bool:
    """Whether its TensorRT module is for a Python that edgeattn does not run in."""
    return release.python is not None and Version(release.python) < OLDEST_PYTHON


def _blocks(
    software: Sequence[Release], candidates: Sequence[Candidate], line: Callable[[Candidate, Typing], str]
) -> Iterator[str]:
    """A block of lines for the versions of TensorRT that the device may have; for all where it names none."""
    for typing in TYPINGS:
        releases = ", ".join(release.name for release in typing.releases(software))
        if releases or not software:
            heading = f"### {typing.heading}" + (f" ({releases})" if releases else "")
            yield "\n".join([heading, "", *(f"    {line(candidate, typing)}" for candidate in candidates), ""])


def _spanning(ranges: ShapeRanges) -> dict[str, ShapeRange]:
    """One range that covers all, fastest at the longest timed length."""
    first, last = ranges[0], ranges[-1]
    return {name: ShapeRange(first[name].least, last[name].usual, last[name].most) for name in first}


_MEMORY = """## If the kernel ends a build for lack of memory

GPU and processor share the memory of this device, and builds were killed on boards with 8 GB and less
(NVIDIA/TensorRT#3355, #4220). `build` limits the memory that TensorRT takes. Ending the desktop until the next start,
and a swap file, make more room:

    sudo systemctl isolate multi-user.target
    sudo fallocate --length 8G /swapfile
    sudo chmod 600 /swapfile
    sudo mkswap /swapfile
    sudo swapon /swapfile
"""
_TRTEXEC = """## NVIDIA's trtexec, without edgeattn

Each line builds the engine of one graph and times it at its usual shapes, as `edgeattn bench` does: with CUDA graphs,
without transfers. Take the lines for the TensorRT of your device; `dpkg-query --show libnvinfer-bin` says which it is.
With `--exportTimes=times.json` or `--exportProfile=profile.json`, a line also writes the time of each run or layer.
Where the outputs of an engine that was built with `--fp16` or `--int8` are wrong, `--stronglyTyped` in place of them
keeps every type of the graph, from TensorRT 10.0 on.
"""
_CHECKED = """
`check.json` in the bundle says for each graph which releases take it, and why others do not.
"""
_POLYGRAPHY = """## NVIDIA's polygraphy, to compare with ONNX Runtime

The first line writes a golden sample of the bundle for polygraphy, which was installed with edgeattn. Each line below
it runs one graph in TensorRT and in ONNX Runtime, and compares the outputs.

    {write}
"""
_CONTAINER = """## In a container

A Dockerfile for {release}, which was not run on a device:

    FROM {image}
    RUN apt-get update \\
     && apt-get install --yes --no-install-recommends python3-venv python3-libnvinfer \\
     && rm -rf /var/lib/apt/lists/*
    RUN python3 -m venv --system-site-packages /opt/edgeattn \\
     && /opt/edgeattn/bin/pip install --no-cache-dir {requirement}
    ENTRYPOINT ["/opt/edgeattn/bin/edgeattn"]

Save it as `edgeattn-image/Dockerfile`.

    docker build --tag edgeattn edgeattn-image
    docker run --rm --runtime nvidia --volume "$PWD:/bundles" edgeattn build /bundles/{name}
    docker run --rm --runtime nvidia --volume "$PWD:/bundles" edgeattn verify /bundles/{name}

JetPack 5's images have Python 3.8, which is too old. For JetPack 7, NVIDIA's documents of TensorRT 11.4.1 name another
image, `nvcr.io/nvidia/tensorrt`; whether it serves TensorRT 10 there is UNCONFIRMED.
"""
