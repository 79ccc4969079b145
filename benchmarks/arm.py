"""The graphs of digits-vit on an emulated Arm processor, compared with this one. Run: python -m benchmarks.arm [ROOT]

Correctness only: the times of an emulated processor mean nothing, and none is recorded. A Debian of arm64 is made in
the folder ROOT, or a temporary one; ONNX Runtime's own wheel for aarch64 and the device half are put in; qemu-user
runs them. 15 minutes. It needs root, and what Debian has as debootstrap, qemu-user-static and binfmt-support.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import candidate_outputs
from benchmarks.record import Row, record
from edgeattn.recipe import load_recipe, to_document
from edgeattn.versions import installed_version

REPOSITORY = Path(__file__).resolve().parent.parent
SUITE, PYTHON = "bookworm", "3.11"  # Debian 12 and its Python
PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64")
EMULATOR = Path("/proc/sys/fs/binfmt_misc/qemu-aarch64")
METHODS = ["fp32", "fp16", "int8-dynamic", "int8", "int8-fp16", "int8-weights", "int4-weights"]
# Any processor's, with all methods, also those that no processor gains from.
PROFILE = f"""schema: 1
extends: cpu
description: Any processor, in ONNX Runtime, by all methods
runtimes: [{{name: onnxruntime, min_version: "1.20", opset: [17, 21], methods: [{", ".join(METHODS)}]}}]
"""
# Most that outputs may differ by, of the largest one, and the least cosine of a sample. All other methods, those of
# weights too, round activations to 8 bits; where two processors sum in another order, now and then to the next value.
GOALS = {"fp32": (1e-4, 0.999999), "fp16": (1e-2, 0.9999)}
ROUNDED = (None, 0.999)


def main(arguments: list[str]) -> None:
    if os.geteuid() != 0 or not shutil.which("debootstrap") or not EMULATOR.exists():
        raise SystemExit(
            "error: this needs root, debootstrap, and qemu-user registered for arm64 programs\n"
            "  fix: apt-get install debootstrap qemu-user-static binfmt-support; "
            "mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc; update-binfmts --enable qemu-aarch64"
        )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        root = Path(arguments[0]).resolve() if arguments else folder / "root"
        make_root(root)
        install(root, folder)
        bundle = compile_bundle(folder)
        rows = [*compare(root, bundle, folder), *commands(root)]
        system = json.loads(inside(root, "python3", "-c", _SYSTEM))
    notes = [
        f"Emulated: Debian {SUITE} for {system['machine']} under qemu-user {system['qemu']}, with Python "
        f"{system['python']} and ONNX Runtime {system['onnxruntime']}. Not run on an Arm processor. Nothing was timed.",
        "Every candidate of the recipe digits-vit, on its 450 held-out samples, there and on this machine's processor.",
        "Methods that round activations to 8 bits, those of weights too (accuracy_level 4), are held to a cosine.",
        "`edgeattn build` and `edgeattn verify` were run there as a user types them. Which candidate build chose there "
        "rests on emulated times and means nothing.",
    ]
    print(record("arm", rows, notes))


_SYSTEM = """
import json, os, platform, onnxruntime
print(json.dumps({"machine": platform.machine(), "python": platform.python_version(),
                  "onnxruntime": onnxruntime.__version__, "qemu": os.environ["EMULATOR"]}))
"""


def make_root(root: Path) -> None:
    """A Debian of arm64 with Python, if there is none yet."""
    if (root / "usr" / "bin" / "python3").exists():
        return
    command = ["debootstrap", "--arch=arm64", "--variant=minbase", "--include=python3", SUITE, str(root)]
    subprocess.run(command, check=True, stdout=sys.stderr)


def install(root: Path, folder: Path) -> None:
    """The device half of this checkout, and the wheels that pip chooses for aarch64, unpacked by pip here."""
    site = root / "opt" / "edgeattn"
    shutil.rmtree(site, ignore_errors=True)
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=REPOSITORY, check=True, stdout=sys.stderr)
    (wheel,) = folder.glob("*.whl")
    command = [
        *(sys.executable, "-m", "pip", "install", "--quiet", "--only-binary=:all:", "--target", str(site)),
        *("--python-version", PYTHON, *(word for platform in PLATFORMS for word in ("--platform", platform))),
        *(f"{wheel}[onnxruntime]", f"onnxruntime=={installed_version('onnxruntime')}"),
    ]
    subprocess.run(command, check=True, stdout=sys.stderr)


def compile_bundle(folder: Path) -> Path:
    """The bundle, left unbuilt."""
    (folder / "arm.yaml").write_text(PROFILE)
    recipe = {**to_document(load_recipe("digits-vit").recipe), "quantize": {"methods": METHODS}}
    (folder / "digits.yaml").write_text(json.dumps(recipe))  # JSON is YAML
    command = [
        *(sys.executable, "-m", "edgeattn", "compile", "digits.yaml", "--target", "arm.yaml", "--host", "none"),
        *("--out", "bundle"),
    ]
    cache = REPOSITORY / "build" / "arm-cache"
    subprocess.run(command, cwd=folder, check=True, env={**os.environ, "EDGEATTN_CACHE": str(cache)}, stdout=sys.stderr)
    return folder / "bundle"


def compare(root: Path, bundle: Path, folder: Path) -> Iterator[Row]:
    """Each candidate's outputs there beside those here."""
    there = root / "arm"
    shutil.rmtree(there, ignore_errors=True)
    shutil.copytree(bundle, there / "bundle")
    shutil.copyfile(candidate_outputs.__file__, there / "candidate_outputs.py")
    inside(root, "python3", "/arm/candidate_outputs.py", "/arm/bundle", "/arm/outputs.npz")
    candidate_outputs.main(bundle, folder / "here.npz")
    methods = {each["name"]: each["method"] for each in json.loads((bundle / "bundle.json").read_text())["candidates"]}
    with np.load(folder / "here.npz") as ours, np.load(there / "outputs.npz") as theirs:
        if set(ours) != set(theirs):
            raise SystemExit(f"other outputs there: {sorted(set(ours) ^ set(theirs))}")
        for key in ours:
            name = key.partition("|")[0]
            yield from differences(name, methods[name], ours[key], theirs[key])


def differences(name: str, method: str, ours: NDArray[Any], theirs: NDArray[Any]) -> Iterator[Row]:
    """ours, theirs: [samples, classes]."""
    most, least = GOALS.get(method, ROUNDED)
    apart = float(np.abs(ours - theirs).max() / np.abs(ours).max())
    products = (ours * theirs).sum(axis=1)
    cosine = float((products / (np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1))).min())
    same = float((ours.argmax(axis=1) == theirs.argmax(axis=1)).mean())
    yield Row(
        name, "largest difference, of the largest output", apart, "",
        goal=None if most is None else f"<= {most:g}", holds=None if most is None else apart <= most,
    )  # fmt: skip
    yield Row(name, "least cosine of a sample", cosine, "", goal=f">= {least:g}", holds=cosine >= least)
    yield Row(name, "samples of the same class", same, "", goal=">= 0.99", holds=same >= 0.99)


def commands(root: Path) -> Iterator[Row]:
    """`edgeattn build` and `edgeattn verify`, typed there."""
    built = json.loads(inside(root, "python3", "-m", "edgeattn", "build", "/arm/bundle", "--json"))
    failed = [row["name"] for row in built["candidates"] if row["state"] == "failed"]
    yield Row("edgeattn build", "candidates that do not run", len(failed), "", goal="= 0", holds=not failed)
    verified = json.loads(inside(root, "python3", "-m", "edgeattn", "verify", "/arm/bundle", "--json"))
    for name, metric in verified["metrics"].items():
        yield Row(
            f"edgeattn verify, {verified['method']}", name, metric["value"], "", "teacher", metric["teacher"],
            goal=None if metric["floor"] is None else f">= {metric['floor']:.4g}", holds=metric["passed"],
        )  # fmt: skip


def inside(root: Path, *command: str) -> str:
    """What a command prints in the arm64 root, where it sees no other process; its mounts end with it."""
    version = subprocess.run(["qemu-aarch64-static", "--version"], capture_output=True, text=True, check=True).stdout
    environment: Mapping[str, str] = {
        "PATH": "/usr/bin:/bin",
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "PYTHONPATH": "/opt/edgeattn",
        "OMP_NUM_THREADS": "1",
        "EMULATOR": version.split()[2],
    }
    enter = ["unshare", "--mount", "--pid", "--fork", f"--mount-proc={root / 'proc'}", "chroot", str(root)]
    words = ["/usr/bin/env", "--ignore-environment", *(f"{name}={value}" for name, value in environment.items())]
    done = subprocess.run([*enter, *words, *command], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


if __name__ == "__main__":
    main(sys.argv[1:])
