"""The child's side of `edgeattn.worker`. Imports nothing heavy: only its target decides what the child loads."""

from __future__ import annotations

import faulthandler
import fcntl
import importlib
import json
import logging
import os
import re
import resource
import signal
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from edgeattn.errors import EdgeattnError, ToolError


def encode(message: Any, what: str) -> bytes:
    """One line of JSON. Raises ToolError naming `what` when JSON cannot carry it (NaN, infinity, objects)."""
    try:
        return json.dumps(message, allow_nan=False).encode() + b"\n"
    except (TypeError, ValueError) as error:
        raise ToolError(f"{what} cannot be sent as JSON: {error}") from error


def peak_bytes() -> int | None:
    """Peak resident set of this process; None where /proc does not report it.

    Not ru_maxrss: that one starts at the resident set of the process that forked this one.
    """
    try:
        match = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    except OSError:
        return None
    return int(match[1]) * 1024 if match else None


class _Channel(logging.Handler):
    """The private channel to the parent; also a logging handler that sends records there."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._file = os.fdopen(fd, "rb")

    def receive(self) -> dict[str, Any]:
        line = self._file.readline()
        if not line:  # the parent has closed its end, or is gone
            os._exit(0)
        message: dict[str, Any] = json.loads(line)
        return message

    def send(self, message: dict[str, Any], what: str = "the answer") -> None:
        line = encode(message, what)
        self.acquire()  # logging's own lock: a thread may log while another answers
        try:
            while line:
                line = line[os.write(self._file.fileno(), line) :]
        finally:
            self.release()

    def emit(self, record: logging.LogRecord) -> None:
        self.send({"log": [record.levelno, record.getMessage()]})

    def report(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        """Replaces sys.excepthook: tells the parent which exception ended the child."""
        sys.__excepthook__(kind, error, trace)
        if isinstance(error, EdgeattnError):
            known = next(base.__name__ for base in kind.__mro__ if base.__module__ == "edgeattn.errors")
            failure = {"class": known, "fact": error.fact, "where": error.where, "fix": error.fix}
        else:
            failure = {"fact": f"{kind.__name__}: {error}"}
        self.send({"error": failure, "peak_bytes": peak_bytes()})


_parent: _Channel | None = None


def report(done: int, total: int, what: str) -> None:
    """Tell the parent that `done` of `total` steps of `what` are done. From any thread; no effect outside a worker."""
    if _parent is not None:
        _parent.send({"progress": [done, total, what]})


def _die_with_parent(lifeline: int) -> None:
    """Have the kernel kill this process group when the parent's end of the pipe `lifeline` closes.

    Unlike PR_SET_PDEATHSIG this reaches grandchildren and does not fire when merely the parent's thread ends;
    unlike a thread that waits for EOF it works while native code holds the GIL.
    """
    os.set_inheritable(lifeline, False)
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, os.O_ASYNC)


def main(channel_fd: int, lifeline: int) -> None:
    """Serve the parent: one call, or a target's callable until the parent closes the channel."""
    _die_with_parent(lifeline)
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.set_inheritable(channel_fd, False)
    global _parent
    _parent = channel = _Channel(channel_fd)
    sys.excepthook = channel.report
    order = channel.receive()
    if order["memory_bytes"] is not None:
        # RLIMIT_DATA and not RLIMIT_AS: mapped weights, and address space that native libraries only reserve
        # (64 MiB a thread in glibc, far more in CUDA), are not memory used.
        resource.setrlimit(resource.RLIMIT_DATA, (order["memory_bytes"],) * 2)
    log = logging.getLogger("edgeattn")
    log.addHandler(channel)
    log.propagate = False
    log.setLevel(order["log_level"])
    module, _, name = order["target"].partition(":")
    answer = getattr(importlib.import_module(module), name)(order["argument"])
    what = f"the answer of {order['target']}"
    if not order["serve"]:
        channel.send({"answer": answer}, what)
        return
    channel.send({"answer": None})
    while True:
        channel.send({"answer": answer(channel.receive()["request"])}, what)
