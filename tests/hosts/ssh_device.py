"""A real SSH server on this machine, which stands for a device: keys, configuration and home folder are its own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edgeattn.cli.main import run

_SSHD = shutil.which("sshd") or next((path for path in ("/usr/sbin/sshd",) if Path(path).exists()), None)
_PRIVILEGE_SEPARATION = Path("/run/sshd")


@dataclass
class Device:
    """A "device". home: the home folder that its sessions see. port: of its server."""

    folder: Path
    port: int
    environment: dict[str, str] = field(default_factory=dict)
    server: subprocess.Popen[bytes] | None = None

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def there(self) -> Path:
        """edgeattn's folder on the device."""
        return self.home / ".cache/edgeattn/hosts"

    @property
    def address(self) -> str:
        return f"{os.environ.get('USER') or 'root'}@127.0.0.1:{self.port}"

    def new_host_key(self) -> None:
        for name in ("host_key", "host_key.pub"):
            (self.folder / name).unlink(missing_ok=True)
        _keygen(self.folder / "host_key")

    def fingerprint(self) -> str:
        shown = subprocess.run(
            ["ssh-keygen", "-lf", self.folder / "host_key.pub"], capture_output=True, text=True, check=True
        )
        return shown.stdout.split()[1]

    def start(self) -> None:
        settings = {
            "Port": self.port,
            "ListenAddress": "127.0.0.1",
            "HostKey": self.folder / "host_key",
            "AuthorizedKeysFile": self.folder / "key.pub",
            "PidFile": "none",
            "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no",
            "UsePAM": "no",
            "StrictModes": "no",
            "PermitRootLogin": "yes",
            "SetEnv": " ".join(f"{name}={value}" for name, value in self.environment.items()),
        }
        (self.folder / "sshd_config").write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
        command = [_SSHD, "-D", "-e", "-f", self.folder / "sshd_config"]
        with (self.folder / "log").open("ab") as log:
            self.server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise AssertionError((self.folder / "log").read_text())

    def stop(self) -> None:
        """End the server and every session of it."""
        if self.server:
            self.drop_connections()
            self.server.terminate()
            self.server.wait()

    def drop_connections(self) -> None:
        """Kill the server's side of every connection, as a network that breaks does."""
        import psutil

        assert self.server
        for process in psutil.Process(self.server.pid).children(recursive=False):
            process.send_signal(signal.SIGKILL)

    def end_jobs(self) -> None:
        """Kill the jobs that a failed test has left."""
        for file in self.state("pid.json"):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(json.loads(file.read_text())["pid"], signal.SIGKILL)

    def state(self, name: str) -> list[Path]:
        """The files of that name of all jobs on the device."""
        return sorted(self.there.glob(f"jobs/*/{name}"))


def _keygen(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def started(folder: Path) -> Device:
    if _SSHD is None:
        pytest.skip("sshd is not installed: apt-get install openssh-server")
    if os.getuid() == 0 and not _PRIVILEGE_SEPARATION.exists():
        _PRIVILEGE_SEPARATION.mkdir(mode=0o755)
    device = Device(folder, _free_port())
    device.home.mkdir()
    device.environment = {"HOME": str(device.home), "EDGEATTN_LEASE": str(folder / "lease"), "OMP_NUM_THREADS": "1"}
    _keygen(folder / "key")
    device.new_host_key()
    device.start()
    return device


def add(device: Device, name: str = "board", *more: str) -> int:
    """`edgeattn hosts add`, with this test's own Python, whose packages the device then has."""
    arguments = ["--identity", str(device.folder / "key"), "--fingerprint", device.fingerprint()]
    return run(["hosts", "add", name, device.address, *arguments, "--python", sys.executable, *more])


def fake(device: Device, script: str) -> None:
    """Let the device's edgeattn be a shell script when it runs jobs. $REAL is the real one."""
    program = device.there / "venv/bin/edgeattn"
    real = program.with_name("edgeattn-real")
    if not real.exists():
        program.rename(real)
    program.write_text(f"#!/bin/bash\nREAL={real}\n{script}\n")
    program.chmod(0o755)
