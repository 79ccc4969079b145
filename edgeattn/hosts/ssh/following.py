"""Follows a job on the device to its end, over any number of connections."""

from __future__ import annotations

import json
import os
import secrets
import selectors
import threading
import time
from collections.abc import Callable, Iterator

from edgeattn.errors import DeviceError, ToolError
from edgeattn.hosts.ssh.connection import SSH_FAILED, LinkLost, end
from edgeattn.hosts.ssh.patience import Patience
from edgeattn.hosts.ssh.remote import Message, Remote, words

_BEAT_S = 5.0
_SILENT_S = 40.0  # the device says something at least every 5 s
_MESSAGE_LIMIT_BYTES = 64 * 1024
_LINE_SHOWN = 500
_LINES_SHOWN = 5_000


def follow(remote: Remote, job: str, say: Callable[[str], None], patience: Patience, cancelled: threading.Event) -> int:
    """Wait for the end of a job and return its exit code, while `say` prints its stderr.

    Raises ToolError where the job was lost, such as by a restart of the device; DeviceError where another controller
    follows it, or the device cannot be reached for too long.
    """
    token, offset, shown = secrets.token_hex(8), 0, 0
    while True:
        try:
            for message in _messages(remote, {"job": job, "offset": offset, "token": token}, cancelled):
                patience.heard()
                if message.line is not None:
                    offset = message.offset
                    shown += 1
                    if shown <= _LINES_SHOWN:
                        say(remote.shown(message.line)[:_LINE_SHOWN])
                    elif shown == _LINES_SHOWN + 1:
                        say("further output is left out")
                if message.ended is not None:
                    return message.ended
                if message.lost is not None:
                    raise ToolError(
                        f"{remote.shown(message.lost)} while the job was running",
                        where=remote.connection.place,
                        fix="check its power supply and memory, then run the same command again: it starts anew",
                    )
            raise LinkLost("the connection was closed", where=remote.connection.place)
        except LinkLost as error:
            patience.lost(error)


def _messages(remote: Remote, request: dict[str, object], cancelled: threading.Event) -> Iterator[Message]:
    """What `follow` on the device says over one connection. Raises LinkLost, and KeyboardInterrupt when cancelled."""
    process = remote.connection.start(words("follow"))
    assert process.stdin is not None
    assert process.stdout is not None
    received, heard, sent = bytearray(), time.monotonic(), time.monotonic()
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            os.write(process.stdin.fileno(), json.dumps(request).encode() + b"\n")
            while True:
                if cancelled.is_set():
                    raise KeyboardInterrupt
                if time.monotonic() - sent > _BEAT_S:
                    os.write(process.stdin.fileno(), b"\n")
                    sent = time.monotonic()
                if not selector.select(0.5):
                    if time.monotonic() - heard > _SILENT_S:
                        raise LinkLost(f"nothing was heard for {_SILENT_S:.0f} s", where=remote.connection.place)
                    continue
                chunk = os.read(process.stdout.fileno(), 65536)
                if not chunk:
                    break
                heard = time.monotonic()
                received += chunk
                *whole, rest = received.split(b"\n")
                received = bytearray(rest)
                for line in whole:
                    yield remote.read(bytes(line), Message)
                if len(received) > _MESSAGE_LIMIT_BYTES:
                    raise remote.malformed(bytes(received))
        stderr = process.stderr.read(65536).decode(errors="replace") if process.stderr else ""
        if received:
            raise remote.malformed(bytes(received), stderr)
        if 0 < process.wait(10) < SSH_FAILED:
            raise DeviceError(
                f"edgeattn there failed: {remote.shown(stderr).strip()[-_LINE_SHOWN:] or 'no reason given'}",
                where=remote.connection.place,
                fix=remote.connection.reinstall,
            )
        raise remote.connection.failure(stderr)
    except BrokenPipeError:
        raise LinkLost("the connection was closed", where=remote.connection.place) from None
    finally:
        end(process)
