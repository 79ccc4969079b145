"""Lines that a command prints or a serial port sends, read without waiting."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import termios
from pathlib import Path
from typing import Protocol

from edgeattn.meters.faults import SensorError
from edgeattn.plaintext import plain

_PORT = re.compile(r"(/dev/[\w./-]+)(?:@(\d{3,7}))?", re.ASCII)
_BAUD = 9600
_MOST = 65536  # bytes at a time, and of one line
_END_S = 1.0  # for a command to end when it is told to


class Lines(Protocol):
    """A source of lines. name: for people."""

    name: str

    def new(self) -> list[str]:
        """The lines that came since the last call, without those that are not complete. Raises SensorError at the
        end of the source, or where a line does not end."""

    def close(self) -> None:
        """Ends the source."""


def open_lines(configured: str) -> Lines:
    """Of "/dev/ttyUSB0", "/dev/ttyUSB0@115200", or a command with its arguments. Raises SensorError."""
    port = _PORT.fullmatch(configured.strip())
    return Port(Path(port[1]), int(port[2] or _BAUD)) if port else Command(configured)


class _Buffer:
    """Splits what a file descriptor gives into lines."""

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._rest = b""

    def new(self) -> list[str] | None:
        """None at the end of the file."""
        try:
            got = os.read(self._descriptor, _MOST)
        except BlockingIOError:
            return []
        if not got:
            return None
        *whole, self._rest = re.split(rb"[\r\n]+", self._rest + got)
        if len(self._rest) > _MOST:
            raise SensorError(f"a line of more than {_MOST} bytes")
        return [line.decode("ascii", errors="replace") for line in whole if line.strip()]


class Command:
    """A command that prints lines for as long as it runs; it is run without a shell."""

    def __init__(self, configured: str) -> None:
        try:
            arguments = shlex.split(configured)
        except ValueError as cause:
            raise SensorError(f"the command {configured!r} cannot be split into words: {cause}") from None
        if not arguments:
            raise SensorError("the command is empty")
        self.name = plain(Path(arguments[0]).name)[:80]
        try:
            self._process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # so that what it starts ends with it
            )
        except OSError as cause:
            raise SensorError(f"{self.name} cannot be run: {cause.strerror}") from None
        assert self._process.stdout is not None
        self._buffer = _Buffer(self._process.stdout.fileno())

    def new(self) -> list[str]:
        lines = self._buffer.new()
        if lines is None:
            code = self._process.wait(_END_S) if self._process.poll() is None else self._process.returncode
            raise SensorError(
                f"{self.name} ended with exit status {code}; it must print a line per reading for as long as it runs"
            )
        return lines

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


class Port:
    """A serial port: raw, 8 bits, no parity."""

    def __init__(self, path: Path, baud: int) -> None:
        self.name = str(path)
        speed = getattr(termios, f"B{baud}", None)
        if speed is None:
            raise SensorError(f"{path} has no speed of {baud} baud")
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK)
        except PermissionError:
            raise SensorError(f"{path} cannot be read: sudo usermod -aG dialout $USER, then log in again") from None
        except OSError as cause:
            raise SensorError(f"{path} cannot be read: {cause.strerror}") from None
        try:
            self._make_raw(speed)
        except termios.error as cause:
            os.close(self._descriptor)
            raise SensorError(f"{path} is no serial port: {cause.args[-1]}") from None
        self._buffer = _Buffer(self._descriptor)
        self._first = True

    def _make_raw(self, speed: int) -> None:
        control = termios.CS8 | termios.CREAD | termios.CLOCAL
        characters = termios.tcgetattr(self._descriptor)[6]
        # Without this, another program's settings could make a port with nothing to say look like one that has gone.
        characters[termios.VMIN], characters[termios.VTIME] = 1, 0
        termios.tcsetattr(self._descriptor, termios.TCSANOW, [0, 0, control, 0, speed, speed, characters])
        termios.tcflush(self._descriptor, termios.TCIFLUSH)  # what it sent before is not of now

    def new(self) -> list[str]:
        try:
            lines = self._buffer.new()
        except OSError as cause:  # unplugged
            raise SensorError(f"{self.name} cannot be read: {cause.strerror}") from None
        if lines is None:
            raise SensorError(f"{self.name} has gone")
        if lines and self._first:
            self._first = False
            return lines[1:]  # the port was opened in the middle of the first
        return lines

    def close(self) -> None:
        os.close(self._descriptor)
