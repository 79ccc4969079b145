"""What the device's side of edgeattn is asked, and what it answers: see `device.py`.

An answer comes from a machine that may be broken or hostile: it is capped, parsed strictly, checked, and made safe to
show before anything is done with it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, Field, ValidationError

from edgeattn.errors import DeviceError, EdgeattnError, InconclusiveError, InputError, ToolError, VerificationError
from edgeattn.hosts.ssh.connection import Connection, last_line
from edgeattn.hosts.ssh.install import PYTHON
from edgeattn.hosts.ssh.lease import Busy
from edgeattn.jsonfile import strict_json
from edgeattn.plaintext import plain
from edgeattn.validation import Part

M = TypeVar("M", bound=BaseModel)

_BY_EXIT_CODE: dict[int, type[EdgeattnError]] = {
    1: VerificationError,
    2: InputError,
    3: InconclusiveError,
    4: DeviceError,
    5: ToolError,
}
_TEXT_SHOWN = 2000
_ASK_S = 600  # hashing a large bundle on a slow card
_NOT_FOUND = (126, 127)


class RemoteError(Part):
    """The error document of a command of edgeattn."""

    fact: str
    where: str | None
    fix: str | None
    exit_code: int


class Failure(Part):
    """An answer that is an error. busy: another job has the device."""

    error: RemoteError
    busy: bool = False


class Offered(Part):
    """Answer to `offer`."""

    running: bool = False
    missing: dict[str, int] = Field(default_factory=dict)


class Placed(Part):
    """Answer to `place`."""

    damaged: list[str]


class Started(Part):
    """Answer to `start`."""

    boot_id: str | None


class Stopped(Part):
    """Answer to `stop`."""

    stopped: bool


class Listed(Part):
    """Answer to `listing`."""

    files: dict[str, list[Any]]


class Done(Part):
    """Answer to `forget` and `idle`."""


class Message(Part):
    """A line of `follow`: a line of the job's stderr and the offset after it, a beat, or how it ended."""

    line: str | None = None
    offset: int = Field(default=0, ge=0)
    beat: bool = False
    ended: int | None = None
    lost: str | None = None


@dataclass(frozen=True)
class Remote:
    """The device's side. bundle: the bundle's folder here, which replaces that on the device in messages."""

    connection: Connection
    bundle: str

    def ask(self, command: str, request: Mapping[str, Any], answer: type[M]) -> M:
        """The answer to a command of `device.py`. Raises the device's error, DeviceError for a malformed answer."""
        reply = self.connection.run(words(command), feed=json.dumps(request).encode() + b"\n", timeout_s=_ASK_S)
        if reply.code in _NOT_FOUND:
            fact = f"edgeattn does not start: {last_line(reply.stderr)}"
            raise DeviceError(fact, where=self.connection.place, fix=self.connection.reinstall)
        return self.read(reply.stdout, answer, reply.stderr)

    def read(self, text: bytes, answer: type[M], stderr: str = "") -> M:
        """Text from the device as an `answer`. Raises the error that it is, or DeviceError where it is neither."""
        try:
            document = strict_json(text)
            if isinstance(document, dict) and "error" in document:
                raise self.error(Failure.model_validate(document))
            return answer.model_validate(document)
        except (ValueError, RecursionError) as invalid:  # ValidationError is a ValueError
            raise self.malformed(text, stderr) from invalid

    def malformed(self, text: bytes, stderr: str = "") -> DeviceError:
        """The error for an answer that edgeattn does not give."""
        said = last_line(text[:4096].decode(errors="replace")) if text.strip() else last_line(stderr)
        return DeviceError(
            f"its answer is none of edgeattn's: {said}", where=self.connection.place, fix=self.connection.reinstall
        )

    def error(self, failure: Failure) -> EdgeattnError:
        """The device's error as this side raises it, with the host in its place."""
        found = failure.error
        kind = Busy if failure.busy else _BY_EXIT_CODE.get(found.exit_code, ToolError)
        where = self.connection.place + (f": {self.shown(found.where)}" if found.where else "")
        return kind(self.shown(found.fact), where=where, fix=self.shown(found.fix) if found.fix else None)

    def failed(self, text: bytes) -> EdgeattnError | None:
        """The error that a job's stdout holds; None where it holds none."""
        try:
            return self.error(Failure.model_validate(strict_json(text)))
        except (ValidationError, ValueError, RecursionError):
            return None

    def shown(self, text: str) -> str:
        """Text from the device, safe to show: capped, and with the bundle's path here instead of the one there."""
        here = self.bundle.replace("\\", r"\\")
        return re.sub(r"[^\s'\"]*/work/[0-9a-f]{16}/bundle", here, plain(text[:_TEXT_SHOWN], lines=True))


def words(command: str) -> list[str]:
    """The command line of a command of `device.py`."""
    return [PYTHON, "-m", "edgeattn.hosts.ssh.device", command]
