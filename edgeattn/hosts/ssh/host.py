"""A device reached over SSH, as a host.

A run is: is this edgeattn there? which of the bundle's files are missing? send them; start the job, which then runs
apart from the connection; follow it; take its document, and the files that it changed. See `device.py` for its other
side, and what happens when either side dies.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from edgeattn.bundle import Bundle
from edgeattn.errors import EdgeattnError, ToolError
from edgeattn.hosts.base import HostFacts
from edgeattn.hosts.known import KnownHost, known_hosts_file
from edgeattn.hosts.ssh.connection import Connection, LinkLost, connected
from edgeattn.hosts.ssh.following import follow
from edgeattn.hosts.ssh.install import VENV, Wanted, install, installed
from edgeattn.hosts.ssh.lease import Busy
from edgeattn.hosts.ssh.patience import Patience
from edgeattn.hosts.ssh.remote import Done, M, Offered, Placed, Remote, Started, Stopped
from edgeattn.hosts.ssh.returning import Back, take_back
from edgeattn.hosts.ssh.transfer import Files, check_names, send_bundle
from edgeattn.hosts.ssh.wheel import own_wheel
from edgeattn.jobs import DeviceJob, Folder
from edgeattn.jsonfile import strict_json
from edgeattn.manifest import COPY_AGAIN
from edgeattn.progress import Progress

T = TypeVar("T")

_ATTEMPTS = 3
_BUSY_PAUSE_S = 5.0
_PROBE_S = 120
_WITH_DOCUMENT = (0, 1, 3)  # done, failed verification or regression, inconclusive


class SshHost:
    """A device that `edgeattn hosts add` has added.

    wait: for a device that is busy. record: bring back what a job writes into the bundle; False only for its document.
    """

    def __init__(self, name: str, known: KnownHost, *, wait: bool = False, record: bool = True) -> None:
        self.name = name
        self._known = known
        self._wait = wait
        self._record = record
        self._cancelled = threading.Event()

    def run(self, job: DeviceJob, folder: Path, progress: Progress) -> dict[str, Any]:
        opened = job.open(folder.resolve())
        files = opened.files()
        check_names(files, str(folder / opened.document.name), COPY_AGAIN)
        with self._connected() as connection:
            self._refresh(connection, progress)
            run = _Run(connection, job, opened, folder, files, progress, self._cancelled, self._wait)
            document = run.whole(record=self._record)
        job.keep(opened, document)
        return document

    def probe(self) -> HostFacts:
        with self._connected() as connection:
            self._refresh(connection, Progress())
            return probe(connection)

    def cancel(self) -> None:
        self._cancelled.set()

    def _connected(self) -> Any:
        known = self._known
        return connected(self.name, known.address, known_hosts_file(), identity=known.identity, folder=known.folder)

    def _refresh(self, connection: Connection, progress: Progress) -> None:
        """Install this edgeattn where the device has another, or none."""
        found = installed(connection)
        if found is not None and found.wheel == own_wheel().digest:
            return
        if found is not None:
            try:
                _remote(connection).ask("idle", {}, Done)
            except Busy:
                raise
            except EdgeattnError:  # an old edgeattn, which cannot say
                pass
        progress.line(f"{self.name}: {'another' if found else 'no'} edgeattn is installed there: installing this one")
        install(connection, Wanted(self._known.python, self._known.offline, self._known.runtimes), progress)


def probe(connection: Connection) -> HostFacts:
    """The facts of a device that has edgeattn. Raises DeviceError."""
    reply = connection.run([f"{VENV}/bin/edgeattn", "hosts", "probe", "--json"], timeout_s=_PROBE_S)
    remote = _remote(connection)
    if (error := remote.failed(reply.stdout)) is not None:
        raise error
    try:
        return HostFacts.model_validate_json(reply.stdout)
    except ValidationError:
        raise remote.malformed(reply.stdout, reply.stderr) from None


def _remote(connection: Connection, bundle: str = "the bundle") -> Remote:
    return Remote(connection, bundle)


def _identifier(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


@dataclass
class _Run:
    """One job on one folder, which is `opened`: a bundle, or what a job only reads."""

    connection: Connection
    job: DeviceJob
    opened: Folder
    folder: Path
    files: Files
    progress: Progress
    cancelled: threading.Event
    wait: bool

    def __post_init__(self) -> None:
        self.remote = _remote(self.connection, str(self.folder))
        self.patience = Patience(self.say, self.cancelled)
        controller = f"{getpass.getuser()}@{socket.gethostname()}"
        workspace = _identifier(controller, self.opened.key)
        command = [self.job.name, *self.job.arguments()]
        # The same command on the same bundle is the same job, so that it can be taken over.
        job = _identifier(workspace, command, sorted(self.files.items()))
        self.request: dict[str, Any] = {"workspace": workspace, "job": job}
        self.begin = {"command": command, "bundle": self.opened.name, "controller": controller}

    def whole(self, *, record: bool) -> dict[str, Any]:
        """The job's document; the bundle then has its evidence."""
        if self._offer():
            self.say("this very job is already there: following it")
        else:
            self._when_free(self._start)
        try:
            code = follow(self.remote, self.request["job"], self.say, self.patience, self.cancelled)
        except KeyboardInterrupt:
            self._stop()
            raise
        try:
            document = self._document(code)
            if record and isinstance(self.opened, Bundle):
                back = Back(self.remote, self.patience, self.request, self.opened, self.files)
                take_back(back, only_reports=self.job.only_reports)
        except EdgeattnError as error:
            if not isinstance(error, LinkLost):
                self._forget()
            raise
        self._forget()
        return document

    def say(self, line: str) -> None:
        self.progress.line(f"{self.connection.name}: {line}")

    def ask(self, command: str, answer: type[M], **more: Any) -> M:
        """The device's answer, asked for again where the connection is lost."""
        return self.patience.call(lambda: self.remote.ask(command, {**self.request, **more}, answer))

    def _offer(self) -> bool:
        """Bring the bundle's files there. True where the job is there already."""
        for _ in range(_ATTEMPTS):
            offered = self._when_free(lambda: self.patience.call(self._send))
            if offered.running:
                return True
            if not self.ask("place", Placed, files=self.files).damaged:
                return False
        raise ToolError(
            f"files arrive damaged, {_ATTEMPTS} times in a row",
            where=self.connection.place,
            fix="check the network and the device's disk",
        )

    def _send(self) -> Offered:
        offered = self.remote.ask("offer", {**self.request, "files": self.files}, Offered)
        known = {digest for digest, _ in self.files.values()}
        if not set(offered.missing) <= known:
            raise self.remote.malformed(b"it asks for files that the bundle does not have")
        if offered.missing:
            sizes = dict(self.files.values())
            size = sum(sizes[digest] - here for digest, here in offered.missing.items())
            self.say(f"sending {len(offered.missing)} files, {size / 1e6:.1f} MB")
            send_bundle(self.connection, self.opened.path, self.files, offered.missing, self.progress)
        return offered

    def _start(self) -> None:
        try:
            self.remote.ask("start", {**self.request, **self.begin}, Started)
        except LinkLost as error:  # it may have begun: then following finds it
            self.patience.lost(error)
            if not self.ask("offer", Offered, files=self.files).running:
                self._start()
        except KeyboardInterrupt:
            self._stop()
            raise

    def _when_free(self, action: Callable[[], T]) -> T:
        """The result of `action`, which waits for a busy device where that is wanted."""
        said = False
        while True:
            try:
                return action()
            except Busy as error:
                if not self.wait:
                    raise
                if not said:
                    self.say(f"{error.fact}; waiting")
                said = True
                self.patience.pause(_BUSY_PAUSE_S)

    def _stop(self) -> None:
        """End the job there. Says so where that fails."""
        self.say("ending the job there")
        try:
            stopped = self.remote.ask("stop", self.request, Stopped).stopped
        except EdgeattnError as error:
            stopped, why = False, error.fact
        else:
            why = "it does not end"
        if not stopped:
            self.say(f"the job may still run there ({why}); the same command follows it again")

    def _document(self, code: int) -> dict[str, Any]:
        """What the job wrote on stdout. Raises the job's error."""
        words = ["cat", f"jobs/{self.request['job']}/stdout"]
        reply = self.patience.call(lambda: self.connection.run(words))
        if (error := self.remote.failed(reply.stdout)) is not None:
            raise error
        try:
            document = strict_json(reply.stdout)
        except (ValueError, RecursionError):
            document = None
        if isinstance(document, dict) and code in _WITH_DOCUMENT:
            return document
        if code in _WITH_DOCUMENT:
            raise self.remote.malformed(reply.stdout)
        raise ToolError(
            f"edgeattn {self.job.name} ended there with exit code {code} and no document",
            where=self.connection.place,
            fix="its output above says more; `edgeattn hosts probe` shows what is installed there",
        )

    def _forget(self) -> None:
        with suppress(EdgeattnError):
            self.remote.ask("forget", self.request, Done)
