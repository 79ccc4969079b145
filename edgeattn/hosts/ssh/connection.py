"""One connection to a device, by the system's OpenSSH.

The `ssh` command and not a library: it has the user's agent, keys and jump hosts (`~/.ssh/config`), and is installed
wherever one works with boards. Every command shares one authenticated connection (ControlMaster); when that is lost,
the next command makes a new one. All arguments are arrays; the words of a remote command are quoted for its shell.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import selectors
import shlex
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from edgeattn.errors import DeviceError, EdgeattnError, ResourceError, ToolError
from edgeattn.hosts.known import Address, alias
from edgeattn.plaintext import plain
from edgeattn.scratch import scratch

_log = logging.getLogger("edgeattn")

REPLY_LIMIT_BYTES = 64 * 1024 * 1024
CONNECT_S = 15
_ALIVE_EVERY_S = 10  # three unanswered: the link is lost
_MASTER_IDLE_S = 60  # after that the shared connection of a process that was killed closes
SSH_FAILED = 255
_STDERR_SHOWN = 400
# In the folder of edgeattn on the device; a login shell of any kind passes these words on to sh.
_IN_FOLDER = 'cd "${1:-$HOME/.cache/edgeattn/hosts}" && shift && exec "$@"'


class LinkLost(DeviceError):
    """The connection to the device was lost; what runs there goes on."""


@dataclass(frozen=True)
class Reply:
    """What a remote command wrote, and its exit code."""

    code: int
    stdout: bytes
    stderr: str


@dataclass(frozen=True)
class Connection:
    """Runs commands on a device.

    name: of the host. address: where it is. known_hosts: the file that has its key. identity: a private key's file.
    folder: of edgeattn on the device; None: ~/.cache/edgeattn/hosts. control: the folder of the shared connection.
    """

    name: str
    address: Address
    known_hosts: Path
    identity: str | None
    folder: str | None
    control: Path

    def run(
        self,
        words: Sequence[str],
        *,
        feed: bytes | IO[bytes] = b"",
        timeout_s: float = 60,
        limit_bytes: int = REPLY_LIMIT_BYTES,
        in_folder: bool = True,
        to: IO[bytes] | None = None,
    ) -> Reply:
        """Run a command on the device, in edgeattn's folder there.

        feed: its stdin. to: the file that takes its stdout, which is then no part of the reply.
        Raises DeviceError where the device cannot be reached or says too much; LinkLost.
        """
        process = self.start(words, feed=feed, in_folder=in_folder)
        try:
            stdout, stderr = _read(process, limit_bytes, timeout_s, feed, to)
        except _TooMuch:
            raise DeviceError(
                f"its reply is longer than {limit_bytes} bytes", where=self.place, fix=self.reinstall
            ) from None
        except subprocess.TimeoutExpired:
            raise LinkLost(f"no answer in {timeout_s:g} s", where=self.place, fix="check the device") from None
        finally:
            end(process)
        text = stderr.decode(errors="replace")
        if process.returncode == SSH_FAILED or process.returncode < 0:  # ssh itself failed, or was killed
            raise self.failure(text)
        return Reply(process.returncode, stdout, text)

    def start(
        self, words: Sequence[str], *, feed: bytes | IO[bytes] = b"", in_folder: bool = True
    ) -> subprocess.Popen[bytes]:
        """The process of `ssh` that runs a command on the device; its stdin is a pipe unless `feed` is a file."""
        if in_folder:
            words = ["sh", "-c", _IN_FOLDER, "sh", self.folder or "", *words]
        return self.ssh(
            ["--", self.address.device, shlex.join(words)], stdin=subprocess.PIPE if isinstance(feed, bytes) else feed
        )

    def ssh(
        self, arguments: Sequence[str], *, stdin: int | IO[bytes], first: Sequence[str] = ()
    ) -> subprocess.Popen[bytes]:
        """Start `ssh` with this connection's options and `arguments`. first: options that win over the connection's."""
        try:
            return subprocess.Popen(
                ["ssh", *first, *self.options(), *arguments],
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, "LC_ALL": "C"},
                start_new_session=True,  # Ctrl-C is ours: it ends the remote job before the connection
            )
        except FileNotFoundError:
            raise DeviceError(
                "ssh is not installed here", fix="install OpenSSH: sudo apt install openssh-client"
            ) from None

    def options(self) -> list[str]:
        """The options of `ssh`, which come before those of the user's ~/.ssh/config: the first value of each counts."""
        settings = {
            "BatchMode": "yes",
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": f'"{self.known_hosts}"',
            "GlobalKnownHostsFile": "/dev/null",
            "HostKeyAlias": alias(self.name),
            "UpdateHostKeys": "no",
            "VerifyHostKeyDNS": "no",
            "CheckHostIP": "no",
            "ForwardAgent": "no",
            "ForwardX11": "no",
            "ClearAllForwardings": "yes",
            "PermitLocalCommand": "no",
            "RequestTTY": "no",
            "RemoteCommand": "none",
            "EscapeChar": "none",
            "ConnectTimeout": str(CONNECT_S),
            "ServerAliveInterval": str(_ALIVE_EVERY_S),
            "ServerAliveCountMax": "3",
            "ControlMaster": "auto",
            "ControlPath": f'"{self.control / "c"}"',
            "ControlPersist": str(_MASTER_IDLE_S),
            "LogLevel": "ERROR",
        }
        options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
        if self.identity:
            options += ["-i", self.identity, "-o", "IdentitiesOnly=yes"]
        return [*options, "-p", str(self.address.port), "-l", self.address.user]

    def close(self) -> None:
        """End the shared connection."""
        end(self.ssh(["-O", "exit", "--", self.address.device], stdin=subprocess.DEVNULL), wait_s=5)

    @property
    def place(self) -> str:
        """The host as the place of an error."""
        return f"on {self.name}"

    @property
    def reinstall(self) -> str:
        return f"check what is installed there, or install it anew: edgeattn hosts remove {self.name}, then add it"

    def failure(self, stderr: str) -> DeviceError:
        """The error for what `ssh` says when it has failed."""
        return _explain(self.name, self.address, stderr)

    def require(self, reply: Reply, what: str) -> bytes:
        """The stdout of a command that must succeed; else raises an error that says what failed."""
        if reply.code == 0:
            return reply.stdout
        raise remote_failure(self.place, what, reply.stderr)


def remote_failure(place: str, what: str, stderr: str) -> EdgeattnError:
    """The error for a command that failed on the device, by the words of its stderr, which -v shows whole."""
    _log.debug("%s: %s: %s", place, what, plain(stderr, lines=True))
    if re.search(r"No space left on device|Disk quota exceeded|File too large", stderr):
        return ResourceError(f"{what}: its disk is full", where=place, fix="free some space there")
    if re.search(r"Read-only file system|Permission denied", stderr):
        return DeviceError(
            f"{what}: {last_line(stderr)}",
            where=place,
            fix="make the folder writable, or add the host with --folder and a folder that is",
        )
    return ToolError(f"{what}: {last_line(stderr)}", where=place, fix="-v shows more; check the device")


def last_line(text: str) -> str:
    """The last line of what a device or ssh said, safe to show."""
    lines = [line for line in plain(text, lines=True).splitlines() if line.strip()]
    return lines[-1].strip()[:_STDERR_SHOWN] if lines else "no reason given"


def end(process: subprocess.Popen[bytes], wait_s: float = 0) -> None:
    """End a process of ssh, if it still runs, and close its pipes."""
    try:
        process.wait(wait_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe:
            with contextlib.suppress(BrokenPipeError):  # what was to be written is lost with the connection
                pipe.close()


@contextmanager
def connected(
    name: str, address: Address, known_hosts: Path, *, identity: str | None = None, folder: str | None = None
) -> Iterator[Connection]:
    """A connection, which is made by its first command and closed at the end."""
    with scratch("ssh") as control:
        if len(str(control)) > 80:  # a socket's path has at most 107 characters, and ssh adds 17
            raise DeviceError("the path is too long for a socket", where=str(control), fix="set TMPDIR to /tmp")
        connection = Connection(name, address, known_hosts, identity, folder, control)
        try:
            yield connection
        finally:
            if (control / "c").exists():
                connection.close()


class _TooMuch(Exception):
    pass


def _read(
    process: subprocess.Popen[bytes],
    limit_bytes: int,
    timeout_s: float,
    feed: bytes | IO[bytes],
    to: IO[bytes] | None,
) -> tuple[bytes, bytes]:
    """All of stdout, unless `to` takes it, and of stderr, while `feed` is written to stdin."""
    deadline = time.monotonic() + timeout_s
    assert process.stdout is not None
    assert process.stderr is not None
    found = {process.stdout: bytearray(), process.stderr: bytearray()}
    taken = dict.fromkeys(found, 0)
    left = memoryview(feed) if isinstance(feed, bytes) else memoryview(b"")
    with selectors.DefaultSelector() as selector:
        for pipe in found:
            selector.register(pipe, selectors.EVENT_READ)
        if process.stdin:
            if left:
                os.set_blocking(process.stdin.fileno(), False)
                selector.register(process.stdin, selectors.EVENT_WRITE)
            else:
                process.stdin.close()
        while any(pipe in selector.get_map() for pipe in found):
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("ssh", timeout_s)
            for key, _ in selector.select(1):
                if key.fileobj is process.stdin:
                    assert process.stdin is not None
                    try:
                        left = left[os.write(process.stdin.fileno(), left[:65536]) :]
                    except BrokenPipeError:
                        left = left[:0]
                    if not left:
                        selector.unregister(process.stdin)
                        process.stdin.close()
                    continue
                chunk = os.read(key.fd, 65536)
                pipe = process.stdout if key.fileobj is process.stdout else process.stderr
                if not chunk:
                    selector.unregister(pipe)
                taken[pipe] += len(chunk)
                if taken[pipe] > limit_bytes:
                    raise _TooMuch
                if to is not None and pipe is process.stdout:
                    to.write(chunk)
                else:
                    found[pipe] += chunk
    process.wait(max(1.0, deadline - time.monotonic()))
    return bytes(found[process.stdout]), bytes(found[process.stderr])


def _explain(name: str, address: Address, stderr: str) -> DeviceError:
    place, last = f"on {name}", last_line(stderr)
    if "HOST IDENTIFICATION HAS CHANGED" in stderr or "host key has changed" in stderr:
        key = re.search(r"SHA256:[A-Za-z0-9+/]{43}", stderr)
        return DeviceError(
            f"the host key of {address} has changed{f' to {key[0]}' if key else ''}; nothing was sent",
            where=place,
            fix=f"if the board was set up anew: edgeattn hosts remove {name} --keep, then edgeattn hosts add; "
            "else another machine answers at its address",
        )
    if "Host key verification failed" in stderr or "host key is known for" in stderr:
        return DeviceError(
            f"the host key of {address} is not one that was pinned; nothing was sent",
            where=place,
            fix=f"edgeattn hosts remove {name} --keep, then edgeattn hosts add {name} {address}",
        )
    if "Permission denied" in stderr or "Too many authentication failures" in stderr:
        port = f"-p {address.port} " if address.port != 22 else ""
        return DeviceError(
            f"{address} does not let this user in: {last}",
            where=place,
            fix=f"put your public key there: ssh-copy-id {port}{address.user}@{address.device}; or name a key that "
            "it knows with --identity",
        )
    if re.search(r"Connection refused|timed out|No route to host|unreachable|Could not resolve|not known", stderr):
        return LinkLost(
            f"{address} cannot be reached: {last}",
            where=place,
            fix="check that it is switched on, its address, and that its SSH server runs: on the device, "
            "sudo apt install openssh-server",
        )
    return LinkLost(f"the connection to {address} was lost: {last}", where=place, fix="run the same command again")
