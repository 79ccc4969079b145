"""Native code in a subprocess with limits: a crash, a hang or full memory there becomes an error here.

The child has its own process group, which ends with the child, with its time limit, and with this process
however that ends. Requests and answers are lines of JSON on a private socket; whatever the child writes to
its stdout or stderr is captured, and shown only at logging level DEBUG or in an error. What the child logs to
"edgeattn" is logged here, and what it reports of its progress is handed on.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from edgeattn import errors
from edgeattn._worker_child import encode, peak_bytes
from edgeattn.errors import EdgeattnError, ResourceError, ToolError

_log = logging.getLogger("edgeattn")

# The parent's sys.path is handed over, so that the child imports the same edgeattn and nothing from the
# working directory (which `python -m` would put first).
_BOOT = (
    "import sys; channel, lifeline, *sys.path[:] = sys.argv[1:]; del sys.argv[1:]\n"
    "from edgeattn._worker_child import main; main(int(channel), int(lifeline))"
)
_TARGET = re.compile(r"edgeattn(\.\w+)+:\w+")
_STDERR_KEPT_BYTES = 16_384
_STDERR_SHOWN_LINES = 20
# Words of Python, C++, ONNX Runtime, torch and the C library for a failed allocation.
_MEMORY_WORDS = re.compile(
    r"MemoryError|bad_?alloc|bad allocation|out of memory|not enough memory"
    r"|(cannot|can't|unable to|failed to) allocate",
    re.IGNORECASE,
)
_DEATH_POLL_S = 0.25
Report = Callable[[int, int, str], None]  # done, total, of what
_MIB = 1024 * 1024


class _Child:
    """A subprocess that runs `_worker_child.main`, with its channel and its output."""

    def __init__(
        self,
        target: str,
        stage: str,
        timeout_s: float,
        memory_bytes: int | None,
        env: Mapping[str, str] | None = None,
        progress: Report | None = None,
    ) -> None:
        if not _TARGET.fullmatch(target):
            raise ValueError(f"{target!r} is not a function of a module of edgeattn")
        self._target = target
        self._where = f"stage {stage}"
        self._timeout_s = timeout_s
        self._memory_bytes = memory_bytes
        self._progress = progress
        self._received = bytearray()
        self._stderr = b""
        self._ended = False
        self._own_peak_bytes = peak_bytes()
        self._channel, theirs = socket.socketpair()
        their_lifeline, self._lifeline = os.pipe()
        fds = (theirs.fileno(), their_lifeline)
        try:
            self._popen = subprocess.Popen(
                [sys.executable, "-u", "-c", _BOOT, *map(str, fds), *sys.path],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=fds,
                start_new_session=True,
                env=None if env is None else {**os.environ, **env},
            )
        except OSError as error:
            self._channel.close()
            os.close(self._lifeline)
            raise ToolError(f"cannot start a worker: {error}", where=self._where) from error
        finally:
            theirs.close()
            os.close(their_lifeline)
        self.pid = self._popen.pid
        assert self._popen.stdout is not None
        self._output = self._popen.stdout
        os.set_blocking(self._output.fileno(), False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._channel, selectors.EVENT_READ, self._read_channel)
        self._selector.register(self._output, selectors.EVENT_READ, self._read_stderr)

    def __enter__(self: _AnyChild) -> _AnyChild:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the child and its process group. Harmless when they have ended."""
        if not self._ended:
            self._end()

    def start(self, argument: Any, *, serve: bool) -> Any:
        """function(argument), or None once the callable that it returns is ready to serve."""
        return self.exchange(
            {
                "target": self._target,
                "argument": argument,
                "memory_bytes": self._memory_bytes,
                "log_level": _log.getEffectiveLevel(),
                "serve": serve,
            }
        )

    def exchange(self, message: dict[str, Any]) -> Any:
        """Send one message and wait for its answer. The child has ended when this raises."""
        if self._ended:
            raise ToolError("the worker has ended already", where=self._where)
        try:
            line = encode(message, "the request")
            deadline = time.monotonic() + self._timeout_s
            self._send(line)
            while True:
                reply = json.loads(self._receive(deadline))
                if "log" in reply:
                    _log.log(*reply["log"])
                elif "progress" in reply:
                    if self._progress:
                        self._progress(*reply["progress"])
                elif "error" in reply:
                    raise self._raised(reply["error"], reply["peak_bytes"])
                else:
                    return reply["answer"]
        except BaseException:  # Ctrl-C too
            self.close()
            raise

    def _send(self, line: bytes) -> None:
        self._channel.settimeout(self._timeout_s)
        try:
            self._channel.sendall(line)
        except TimeoutError:
            raise self._late() from None
        except (BrokenPipeError, ConnectionResetError):
            pass  # The child has died: _receive finds out why.

    def _receive(self, deadline: float) -> bytes:
        searched = 0
        while (end := self._received.find(b"\n", searched)) < 0:
            searched = len(self._received)
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0:
                raise self._late()
            hung_up = self._channel not in self._selector.get_map()
            ready = self._selector.select(min(remaining_s, 0.01 if hung_up else _DEATH_POLL_S))
            for key, _ in ready:
                key.data()
            # EOF alone is no sign of death: a grandchild may hold the descriptors open.
            if (hung_up or not ready) and self._has_died():
                raise self._death()
        line = bytes(self._received[:end])
        del self._received[: end + 1]
        return line

    def _has_died(self) -> bool:
        if not os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return False
        # It may have answered just before it died.
        return not any(key.fileobj is self._channel for key, _ in self._selector.select(0))

    def _read_channel(self) -> None:
        chunk = b""
        with contextlib.suppress(ConnectionResetError):
            chunk = self._channel.recv(1 << 20)
        self._received += chunk
        if not chunk:
            self._selector.unregister(self._channel)

    def _read_stderr(self) -> None:
        chunk = os.read(self._output.fileno(), 1 << 16)
        if not chunk:
            self._selector.unregister(self._output)
        elif _log.isEnabledFor(logging.DEBUG):
            _log.debug("%s: %s", self._where, _printable(chunk.decode(errors="replace")).rstrip())
        self._stderr = (self._stderr + chunk)[-_STDERR_KEPT_BYTES:]

    def _end(self) -> tuple[int, int | None]:
        """Kill the group, reap the child: its exit code (negative: a signal) and, if known, peak memory."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        _, status, usage = os.wait4(self.pid, 0)
        self._ended = True
        self._popen.returncode = os.waitstatus_to_exitcode(status)
        if self._output in self._selector.get_map():
            with contextlib.suppress(BlockingIOError):
                self._read_stderr()
        self._selector.close()
        self._output.close()
        self._channel.close()
        os.close(self._lifeline)
        # ru_maxrss starts at this process's own size at the fork, and means nothing until it exceeds that.
        peak = usage.ru_maxrss * 1024
        known = self._own_peak_bytes is not None and peak > self._own_peak_bytes
        return self._popen.returncode, peak if known else None

    def _late(self) -> ResourceError:
        self._end()
        return ResourceError(
            f"took longer than its time limit of {self._timeout_s:g} s{self._last_words()}",
            where=self._where,
            fix="run it again on an idle machine; if it hangs each time, -v shows its whole output",
        )

    def _death(self) -> ToolError:
        """The error for a child that ended without an answer."""
        code, peak = self._end()
        words = self._last_words()
        if code == -signal.SIGKILL:
            return self._out_of_memory("was killed (SIGKILL), as the kernel does when memory runs out", peak, words)
        ended = f"ended with exit code {code} and no answer" if code >= 0 else f"died of {_signal_name(-code)}"
        if _MEMORY_WORDS.search(words):
            return self._out_of_memory(f"ran out of memory and {ended}", peak, words)
        return ToolError(
            ended + words,
            where=self._where,
            fix="the graph or the native library is at fault: -v shows its whole output",
        )

    def _raised(self, failure: dict[str, Any], peak: int | None) -> EdgeattnError:
        """The exception that ended the child, as the parent raises it."""
        fact = failure["fact"]
        if "class" in failure:
            kind: type[EdgeattnError] = getattr(errors, failure["class"])
            return kind(fact, where=failure["where"], fix=failure["fix"])
        fact = _printable(fact.strip())
        if _MEMORY_WORDS.search(fact):
            return self._out_of_memory(f"ran out of memory ({fact.rstrip(': ')})", peak, "")
        return ToolError(f"failed: {fact}", where=self._where, fix="-v shows the whole traceback")

    def _out_of_memory(self, fact: str, peak: int | None, words: str) -> ResourceError:
        at = "its peak is unknown" if peak is None else f"its peak was {peak / _MIB:.0f} MiB"
        limit = "" if self._memory_bytes is None else f", its limit {self._memory_bytes / _MIB:.0f} MiB"
        return ResourceError(
            f"{fact}; {at}{limit}{words}",
            where=self._where,
            fix="free memory, or use shorter sequences or a smaller batch",
        )

    def _last_words(self) -> str:
        lines = _printable(self._stderr.decode(errors="replace")).split("\n")
        lines = [line.rstrip() for line in lines if line.strip()][-_STDERR_SHOWN_LINES:]
        return "; its last output:\n    " + "\n    ".join(lines) if lines else ""


_AnyChild = TypeVar("_AnyChild", bound=_Child)


class Process(_Child):
    """A fresh subprocess that answers several requests one after another.

    function(argument) of `target` runs there once and returns a callable, request -> answer. The constructor
    returns when that callable is ready. timeout_s applies to the start and to each request; env is added
    to this process's environment. Raises as `call` does, after which the process has ended.
    """

    def __init__(
        self,
        target: str,
        argument: Any,
        *,
        stage: str,
        timeout_s: float,
        memory_bytes: int | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(target, stage, timeout_s, memory_bytes, env)
        self.start(argument, serve=True)

    def ask(self, request: Any) -> Any:
        """The callable's answer to `request`; both are JSON."""
        return self.exchange({"request": request})


def call(
    target: str,
    argument: Any,
    *,
    stage: str,
    timeout_s: float,
    memory_bytes: int | None = None,
    progress: Report | None = None,
) -> Any:
    """function(argument) of `target` ("edgeattn.module:function"), run in a fresh subprocess.

    argument and answer are JSON. memory_bytes limits the child's private writable memory. progress: called with what
    the function gives to `edgeattn._worker_child.report`.

    Raises what the function raised when that is an EdgeattnError; ResourceError when time or memory ran out;
    ToolError for any other exception or death, naming `stage` and the child's last words.
    """
    with _Child(target, stage, timeout_s, memory_bytes, progress=progress) as child:
        return child.start(argument, serve=False)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _printable(text: str) -> str:
    """Text without the control characters that could steer a terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)
