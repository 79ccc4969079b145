"""What a job says, sent to the controller that follows it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from edgeattn.errors import DeviceError
from edgeattn.hosts.ssh.device.folders import Document, job_folder
from edgeattn.hosts.ssh.device.state import state_of

_LOST = "the job's process was killed"
_RESTARTED = "the device was restarted"
_POLL_S = 0.5
_BEAT_S = 5.0
_SILENT_S = 30.0  # a controller that sends nothing for this long has lost the connection
_LINE_CHARACTERS = 4096


def follow(request: Document) -> Iterator[Document]:
    """What the job writes to stderr from byte `offset` on, as {line, offset}; at last {ended: code} or {lost: why}.

    Sends {beat} every few seconds; ends when the controller sends nothing for long, or closes stdin. request: {job,
    offset, token}; a connection with the same token takes the place of an older one.
    """
    folder = job_folder(request["job"])
    if not (folder / "job.json").is_file():
        yield {"lost": _LOST}
        return
    with _only_follower(folder, request["token"]):
        offset, heard, said = request["offset"], time.monotonic(), 0.0
        while True:
            state = state_of(folder)
            for line, after in lines_from(folder / "stderr", offset, whole=state == "running"):
                yield {"line": line, "offset": after}
                offset = after
                said = time.monotonic()
            if state != "running":
                break
            if time.monotonic() - said > _BEAT_S:
                yield {"beat": True}
                said = time.monotonic()
            if select.select([sys.stdin], [], [], _POLL_S)[0]:
                if not os.read(sys.stdin.fileno(), 4096):
                    return
                heard = time.monotonic()
            elif time.monotonic() - heard > _SILENT_S:
                return
        if state == "ended":
            yield {"ended": json.loads((folder / "exit.json").read_text())["code"]}
        else:
            yield {"lost": _RESTARTED if state == "restarted" else _LOST}


def lines_from(file: Path, offset: int, *, whole: bool) -> Iterator[tuple[str, int]]:
    """The lines of a file from `offset` on, each with the offset after it; the last one too unless `whole`."""
    if not file.is_file():
        return
    with file.open("rb") as stream:
        stream.seek(offset)
        while chunk := stream.readline(_LINE_CHARACTERS):
            if whole and not chunk.endswith(b"\n") and len(chunk) < _LINE_CHARACTERS:
                return
            offset += len(chunk)
            yield chunk.decode(errors="replace").rstrip("\n"), offset


@contextlib.contextmanager
def _only_follower(folder: Path, token: str) -> Iterator[None]:
    """Hold the lock of the job's follower; an older connection of the same controller gives way."""
    fd = os.open(folder / "follower", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        for _ in range(100):
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            other, _, pid = os.pread(fd, 100, 0).decode().partition(" ")
            if other != token:
                job = json.loads((folder / "job.json").read_text())
                raise DeviceError(
                    f"the same {job['command'][0]} of {job['bundle']} is already running for {job['controller']}",
                    fix="wait for it, or stop the other command",
                )
            with contextlib.suppress(ValueError, ProcessLookupError):
                os.kill(int(pid), signal.SIGTERM)
            time.sleep(0.05)
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{token} {os.getpid()}".encode(), 0)
        yield
    finally:
        os.close(fd)
