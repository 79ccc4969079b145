"""Brings a job's evidence from the device into the bundle here.

Nothing is replaced before the whole result was checked. A job that only reports may change nothing else: a device that
sends another graph or engine with it is refused. report.html is written here, never taken from a device.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeattn.bundle import Bundle, publish
from edgeattn.errors import BundleError
from edgeattn.hosts.ssh.device.folders import BUNDLE
from edgeattn.hosts.ssh.patience import Patience
from edgeattn.hosts.ssh.remote import Listed, Remote
from edgeattn.hosts.ssh.transfer import Files, check_returned, fetch
from edgeattn.jsonfile import strict_json
from edgeattn.manifest import MANIFEST, REPORTS
from edgeattn.report.html import refresh
from edgeattn.scratch import scratch

_REPORT = "report.html"
_REPORT_LIMIT_BYTES = 64 * 1024 * 1024
_DISTRUST = "do not trust this result: the device gives what no job writes"


@dataclass(frozen=True)
class Back:
    """What is brought back: the files of `bundle` in the workspace of `request`, where they differ from `sent`."""

    remote: Remote
    patience: Patience
    request: Mapping[str, Any]
    bundle: Bundle
    sent: Files

    @property
    def place(self) -> str:
        return self.remote.connection.place


def take_back(back: Back, *, only_reports: bool) -> None:
    """Record what the job wrote. Raises BundleError, and changes nothing, where it is not what such a job writes."""
    listed = back.patience.call(lambda: back.remote.ask("listing", back.request, Listed)).files
    files: Files = {name: _entry(back, entry) for name, entry in listed.items()}
    changed = check_returned(files, back.sent, back.place)
    with scratch("returned") as folder:
        if only_reports:
            _record_reports(back, files, changed, folder)
        else:
            _publish(back, files, changed, folder)


def _record_reports(back: Back, files: Files, changed: Files, folder: Path) -> None:
    alien = (set(changed) | (set(back.sent) - set(files))) - {MANIFEST, *REPORTS}
    if alien:
        raise BundleError(
            f"{min(alien)} was changed or removed there, and this job changes only reports",
            where=back.place,
            fix=_DISTRUST,
        )
    documents = {}
    for name in set(changed) - {MANIFEST, _REPORT}:
        if changed[name][1] > _REPORT_LIMIT_BYTES:
            raise BundleError(f"{name} has {changed[name][1]} bytes", where=back.place, fix=_DISTRUST)
        _fetch(back, name, changed[name], folder)
        try:
            documents[name] = strict_json((folder / name).read_bytes())
        except (ValueError, RecursionError) as error:
            raise BundleError(f"{name} is not JSON: {error}", where=back.place, fix=_DISTRUST) from error
    for name, document in documents.items():
        back.bundle.record(name, document)
    refresh(back.bundle)


def _publish(back: Back, files: Files, changed: Files, folder: Path) -> None:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if name in changed:
            _fetch(back, name, changed[name], folder)
        else:
            shutil.copyfile(back.bundle.path / name, folder / name)
    Bundle.open(folder)  # before anything here is touched
    publish(folder, back.bundle.path)
    refresh(Bundle.open(back.bundle.path))


def _fetch(back: Back, name: str, entry: tuple[str, int], folder: Path) -> None:
    remote = f"work/{back.request['workspace']}/{BUNDLE}/{name}"
    back.patience.call(lambda: fetch(back.remote.connection, remote, folder / name, *entry))


def _entry(back: Back, entry: list[Any]) -> tuple[str, int]:
    digest, size = entry if len(entry) == 2 else (None, None)
    if not isinstance(digest, str) or not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise back.remote.malformed(repr(entry).encode())
    return digest, size
