"""Installs the device half on a device, into a virtual environment of its own.

The wheel of this very edgeattn is sent; pip there gets its dependencies from the package index, or, where the device
has none, pip here downloads them for its platform and they are sent too. The environment sees the packages of the
device's own Python (JetPack installs tensorrt there), or those of the virtual environment that --python names.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from edgeattn.errors import DeviceError, ResourceError
from edgeattn.hosts.ssh.connection import Connection, last_line, remote_failure
from edgeattn.hosts.ssh.requirements import requirements
from edgeattn.hosts.ssh.transfer import send
from edgeattn.hosts.ssh.wheel import Wheel, own_wheel
from edgeattn.progress import Progress
from edgeattn.runtimes import RUNTIMES
from edgeattn.scratch import scratch
from edgeattn.store import sha256_file
from edgeattn.validation import Part

RECORD = "install.json"
VENV = "venv"
PYTHON = f"{VENV}/bin/python"
_OLDEST = (3, 10)
_NEEDED_BYTES = 64 * 1024 * 1024  # for the environment and the smallest set of dependencies
_PIP_S = 3600
_OLDEST_GLIBC = 17  # manylinux2014
_DIGEST = "import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], 'rb').read()).hexdigest())"
_NOT_FOUND = (126, 127)  # of sh, for a command that is missing or cannot be run


class DeviceFacts(Part):
    """What `bootstrap.py` prints."""

    python: tuple[int, int, int]
    has_venv: bool
    has_pip: bool
    has_tensorrt: bool
    packages: str | None
    machine: Annotated[str, Field(pattern=r"^[a-z0-9_]{1,20}$")]
    glibc: str
    folder: str
    problem: str | None
    free_bytes: int | None


@dataclass(frozen=True)
class Wanted:
    """How the device half is to be installed.

    python: the interpreter on the device. offline: the device has no package index. runtimes: extras of edgeattn;
    empty: those that run on any processor, and TensorRT's where its module is there, as JetPack brings it.
    """

    python: str
    offline: bool
    runtimes: tuple[str, ...]


class Record(Part):
    """install.json on the device, which is written last. wheel: its digest. python: the version of the environment."""

    wheel: str
    python: tuple[int, int, int]


def installed(connection: Connection) -> Record | None:
    """What is installed; None where nothing is, or an earlier installation broke off."""
    reply = connection.run(["cat", RECORD], limit_bytes=1 << 16)
    try:
        return Record.model_validate_json(reply.stdout) if reply.code == 0 else None
    except ValidationError:
        return None


def install(connection: Connection, wanted: Wanted, progress: Progress) -> tuple[str, ...]:
    """Install this edgeattn and the runtimes. Returns the runtimes that could be installed.

    Raises DeviceError or ResourceError with the remedy.
    """
    wheel = own_wheel()
    facts = look(connection, wanted.python)
    extras = wanted.runtimes or tuple(_default_extras(facts))
    before = installed(connection)
    connection.require(connection.run(["rm", "-rf", RECORD, "wheels"]), "an old installation cannot be removed")
    connection.require(connection.run(["mkdir", "-p", "wheels"]), "a folder cannot be made")
    if before is None or before.python != facts.python:
        _make_venv(connection, wanted.python, facts)
    with scratch("wheels") as folder:
        (folder / wheel.name).write_bytes(wheel.content)
        pip = _Pip(connection, progress, f"wheels/{wheel.name}", offline=wanted.offline)
        _send_wheel(connection, folder / wheel.name)
        if wanted.offline:
            runtimes = _send_dependencies(connection, folder, wheel, facts, extras, progress)
        else:
            runtimes = extras
        pip.install(options=["--force-reinstall", "--no-deps"])  # another build may have the same version
        got = pip.with_runtimes(runtimes)
    record = Record(wheel=wheel.digest, python=facts.python).model_dump_json().encode()
    write = ["sh", "-c", f"cat > {RECORD}.tmp && mv {RECORD}.tmp {RECORD} && rm -rf wheels"]
    connection.require(connection.run(write, feed=record), "the installation cannot be recorded")
    return got


def _default_extras(facts: DeviceFacts) -> Iterator[str]:
    for name in RUNTIMES:
        runtime = RUNTIMES[name]
        if not runtime.compiles or (name == "tensorrt" and facts.has_tensorrt):
            yield runtime.extra


def look(connection: Connection, python: str) -> DeviceFacts:
    """The facts that installing needs; edgeattn's folder is made. Raises DeviceError where it cannot work there."""
    script = Path(__file__).with_name("bootstrap.py").read_bytes()
    reply = connection.run([python, "-", connection.folder or ""], feed=script, in_folder=False, limit_bytes=1 << 16)
    place = connection.place
    if reply.code in _NOT_FOUND:
        raise DeviceError(
            f"{python} was not found",
            where=place,
            fix="install Python 3.10 or later, or give the path of one with --python",
        )
    try:
        facts = DeviceFacts.model_validate_json(connection.require(reply, f"{python} does not work"))
    except ValidationError:
        fact = f"{python} answers what no Python answers: {last_line(reply.stdout.decode(errors='replace'))}"
        raise DeviceError(fact, where=place, fix="give the path of Python 3.10 or later with --python") from None
    version = ".".join(map(str, facts.python))
    if facts.python < _OLDEST:
        raise DeviceError(
            f"{python} is Python {version}; edgeattn needs 3.10 or later",
            where=place,
            fix="install a later one there (Ubuntu 20.04, JetPack 5: sudo apt install python3.10 python3.10-venv from "
            "the deadsnakes archive) and give its path with --python",
        )
    if not facts.has_venv:
        raise DeviceError(
            f"{python} cannot make virtual environments",
            where=place,
            fix=f"on the device: sudo apt install python{facts.python[0]}.{facts.python[1]}-venv",
        )
    if facts.problem and "space" in facts.problem:
        raise ResourceError(f"{facts.folder}: the disk is full", where=place, fix="free some space there")
    if facts.problem:
        raise DeviceError(
            f"{facts.folder} cannot be written to: {facts.problem}",
            where=place,
            fix="give a folder that can, with --folder",
        )
    if facts.free_bytes is not None and facts.free_bytes < _NEEDED_BYTES:
        raise ResourceError(
            f"its disk is full: {facts.free_bytes / 1e6:.0f} MB are free under {facts.folder}, "
            f"{_NEEDED_BYTES / 1e6:.0f} MB are needed at the least",
            where=place,
            fix="free some space there, or give a folder on another disk with --folder",
        )
    return facts


def _make_venv(connection: Connection, python: str, facts: DeviceFacts) -> None:
    # Debian's python3 comes without ensurepip; a pip that is there already is seen from the environment too.
    pip = ["--without-pip"] if facts.has_pip else []
    command = [python, "-m", "venv", "--clear", "--system-site-packages", *pip, VENV]
    connection.require(connection.run(command, timeout_s=_PIP_S), "the virtual environment cannot be made")
    if facts.packages:
        packages = f"{VENV}/lib/python{facts.python[0]}.{facts.python[1]}/site-packages/edgeattn-base.pth"
        reply = connection.run(["sh", "-c", 'cat > "$0"', packages], feed=f"{facts.packages}\n".encode())
        connection.require(reply, "the virtual environment cannot be written")


def _send_wheel(connection: Connection, file: Path) -> None:
    send(connection, file, f"wheels/{file.name}")
    reply = connection.run([PYTHON, "-c", _DIGEST, f"wheels/{file.name}"])
    found = connection.require(reply, f"{file.name} cannot be read").decode(errors="replace").strip()
    if found != sha256_file(file).removeprefix("sha256:"):
        fact = f"{file.name} did not arrive as it was sent"
        raise DeviceError(fact, where=connection.place, fix="run the same command again")


@dataclass(frozen=True)
class _Pip:
    """pip on the device."""

    connection: Connection
    progress: Progress
    wheel: str
    offline: bool

    def install(self, extras: Sequence[str] = (), options: Sequence[str] = ()) -> None:
        """Install the wheel with extras. Raises DeviceError with pip's own reason."""
        source = ["--no-index", "--find-links", "wheels"] if self.offline else []
        command = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
        what = f"{self.wheel}[{','.join(extras)}]" if extras else self.wheel
        reply = self.connection.run([*command, *source, *options, what], timeout_s=_PIP_S)
        if reply.code == 0:
            return
        missing = ", ".join(extras) or "edgeattn"
        reason = _reason(reply.stderr)
        failure = remote_failure(self.connection.place, f"{missing} cannot be installed", reason)
        if isinstance(failure, ResourceError):
            raise failure
        fix = (
            "give --python another Python there"
            if self.offline
            else "where the device reaches no package index, add it with --offline"
        )
        raise DeviceError(failure.fact, where=failure.where, fix=fix)

    def with_runtimes(self, names: Sequence[str]) -> tuple[str, ...]:
        """Install dependencies and runtimes. Returns the runtimes that could be; says why another could not."""
        try:
            self.install(names)
        except ResourceError:
            raise
        except DeviceError:
            if not names:
                raise
        else:
            return tuple(names)
        self.install()
        found = []
        for name in names:
            try:
                self.install([name])
            except ResourceError:
                raise
            except DeviceError as error:
                self.progress.line(f"{self.connection.place}: {error.fact}")
            else:
                found.append(name)
        return tuple(found)


def _reason(stderr: str) -> str:
    """Pip's errors, without its notices and tracebacks."""
    errors = [line for line in stderr.splitlines() if line.startswith("ERROR:") or "No space" in line]
    return "\n".join(errors[:1]).removeprefix("ERROR: ") or stderr


def _send_dependencies(
    connection: Connection, folder: Path, wheel: Wheel, facts: DeviceFacts, runtimes: Sequence[str], progress: Progress
) -> tuple[str, ...]:
    """Download the dependencies here, for the device, and send them. Returns the runtimes that exist for it."""
    _download(folder, facts, None)
    found = []
    for name in runtimes:
        try:
            _download(folder, facts, name)
        except DeviceError as error:
            progress.line(f"for {connection.name}: {error.fact}")
        else:
            found.append(name)
    for file in sorted(folder.glob("*.whl")):
        if file.name != wheel.name:
            progress.line(f"sending {file.name} to {connection.name}")
            _send_wheel(connection, file)
    return tuple(found)


def _download(folder: Path, facts: DeviceFacts, extra: str | None) -> None:
    version = f"{facts.python[0]}.{facts.python[1]}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
    command += ["--only-binary", ":all:", "--implementation", "cp", "--python-version", version]
    command += [word for tag in _platforms(facts) for word in ("--platform", tag)]
    needed = requirements(extra, machine=facts.machine, python=facts.python)
    done = subprocess.run([*command, "--dest", str(folder), *needed], capture_output=True, text=True, check=False)
    if done.returncode:
        what = extra or "edgeattn's dependencies"
        raise DeviceError(
            f"{what} cannot be downloaded for Python {version} on {facts.machine}: {last_line(_reason(done.stderr))}",
            fix="check that this machine reaches a package index, and has pip",
        )


def _platforms(facts: DeviceFacts) -> Iterator[str]:
    """The platform tags of wheels that run there, most recent first."""
    major, _, minor = facts.glibc.partition(".")
    newest = int(minor) if major == "2" and minor.isdigit() else _OLDEST_GLIBC
    for number in range(newest, _OLDEST_GLIBC - 1, -1):
        yield f"manylinux_2_{number}_{facts.machine}"
    yield f"manylinux2014_{facts.machine}"
    yield f"linux_{facts.machine}"
