"""Adds a device as a host, and removes it: its key is pinned, and edgeattn is installed on it."""

from __future__ import annotations

import base64
import hashlib
import subprocess
from collections.abc import Callable
from pathlib import Path

from edgeattn.errors import DeviceError, ToolError
from edgeattn.hosts.base import HostFacts
from edgeattn.hosts.known import Address, KnownHost, alias, known_hosts_file, save
from edgeattn.hosts.ssh.connection import CONNECT_S, Connection, connected, end
from edgeattn.hosts.ssh.host import probe
from edgeattn.hosts.ssh.install import Wanted, install, installed
from edgeattn.hosts.ssh.lease import Busy
from edgeattn.hosts.ssh.remote import Done, Remote
from edgeattn.progress import Progress
from edgeattn.scratch import scratch

# What edgeattn puts into its folder on a device.
_OWN = ("venv", "wheels", "install.json", "incoming", "work", "jobs", "store", "lease")


def add(
    name: str,
    address: Address,
    *,
    accept: Callable[[str], None],
    wanted: Wanted,
    folder: str | None,
    identity: str | None,
    progress: Progress,
) -> HostFacts:
    """Pin the device's host key, install edgeattn there, and save it as a host, all or nothing.

    accept: called with the key's fingerprint; raises where it is not the right one.
    """
    with scratch("key") as place:
        key = _host_key(name, address, identity, place / "known_hosts")
        fingerprint = _fingerprint(key)
        accept(fingerprint)
        (place / "known_hosts").write_text(f"{alias(name)} {key}\n")
        with connected(name, address, place / "known_hosts", identity=identity, folder=folder) as connection:
            progress.line(f"installing edgeattn on {name}: some minutes, once")
            runtimes = install(connection, wanted, progress)
            facts = probe(connection)
            if not facts.runtimes:
                raise DeviceError(
                    "no runtime is installed",
                    where=connection.place,
                    fix="install one there and name its Python with --python, or add the host where it, or with "
                    "--offline this machine, reaches a package index",
                )
    known = KnownHost(
        address=address,
        fingerprint=fingerprint,
        python=wanted.python,
        folder=folder,
        identity=identity,
        offline=wanted.offline,
        runtimes=runtimes,
    )
    save(name, known, key)
    return facts


def remove(name: str, known: KnownHost) -> str:
    """Remove everything that edgeattn has put on the device. Returns the folder that it was in."""
    with connected(name, known.address, known_hosts_file(), identity=known.identity, folder=known.folder) as connection:
        if installed(connection) is not None:
            _require_idle(connection)
        there = known.folder or "~/.cache/edgeattn/hosts"
        reply = connection.run(["true"])
        if reply.code:  # the folder is gone already
            return there
        connection.require(connection.run(["rm", "-rf", *_OWN], timeout_s=600), "edgeattn cannot be removed")
        connection.run(["sh", "-c", 'rmdir "$PWD"'])  # stays where it holds somebody's own files
    return there


def _require_idle(connection: Connection) -> None:
    try:
        Remote(connection, "").ask("idle", {}, Done)
    except Busy:
        raise
    except (DeviceError, ToolError):  # an installation that is broken can be removed all the same
        pass


def _host_key(name: str, address: Address, identity: str | None, file: Path) -> str:
    """The device's host key as "TYPE BASE64", by a connection that ends before anybody logs in."""
    with connected(name, address, file, identity=identity) as connection:
        first = ["-o", "StrictHostKeyChecking=accept-new", "-o", "PreferredAuthentications=none"]
        first += ["-o", "HashKnownHosts=no", "-o", "ControlPath=none"]
        process = connection.ssh(["--", address.device, "true"], stdin=subprocess.DEVNULL, first=first)
        try:
            _, stderr = process.communicate(timeout=2 * CONNECT_S)
        except subprocess.TimeoutExpired:
            stderr = b"Connection timed out"
        finally:
            end(process)
        lines = file.read_text().splitlines() if file.exists() else []
        keys = [line.removeprefix(f"{alias(name)} ") for line in lines if line.startswith(f"{alias(name)} ")]
        if not keys:
            raise connection.failure(stderr.decode(errors="replace"))
    return keys[0]


def _fingerprint(key: str) -> str:
    """A key's fingerprint as ssh writes it: SHA256:<base64>."""
    digest = hashlib.sha256(base64.b64decode(key.split(" ")[1])).digest()
    return "SHA256:" + base64.b64encode(digest).rstrip(b"=").decode()
