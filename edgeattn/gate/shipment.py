"""Candidate and baseline in one folder, for a device to compare: the folder that a gate's job works on.

shipment.json    the digests of all files below
candidate/       a bundle
baseline/        a saved baseline, or a bundle
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgeattn.bundle import Bundle, link
from edgeattn.errors import BundleError
from edgeattn.files import check_listed, entry_of, walk
from edgeattn.gate.baseline import BASELINE, BUNDLE, Baseline, open_baseline
from edgeattn.jsonfile import read_json
from edgeattn.manifest import FileEntry
from edgeattn.store import sha256_file, write_json
from edgeattn.validation import Part

SHIPMENT = "shipment.json"
SCHEMA_VERSION = 1
_CANDIDATE, _BASELINE = "candidate", "baseline"
_AGAIN = "copy the folder again"


class Listing(Part):
    """shipment.json. files: all others in the folder."""

    schema_version: Literal[1] = 1
    files: dict[str, FileEntry]


@dataclass(frozen=True)
class Shipment:
    """A folder that was checked when it was opened; a `Folder` of `edgeattn.jobs`."""

    path: Path
    listing: Listing
    candidate: Bundle
    baseline: Baseline

    @classmethod
    def open(cls, path: Path) -> Shipment:
        """Raises BundleError for a link, a file that is missing or changed, and for a side that is not sound."""
        if not (path / SHIPMENT).is_file():
            raise BundleError(f"holds no {SHIPMENT}", where=str(path), fix="name a bundle, and its --baseline")
        listing = read_json(path / SHIPMENT, Listing, newest=SCHEMA_VERSION, fix=_AGAIN)
        for _ in walk(path, _AGAIN):  # refuses a link, of a folder too
            pass
        for name, entry in listing.files.items():
            check_listed(path, name, entry, SHIPMENT, _AGAIN)
        return cls(path, listing, Bundle.open(path / _CANDIDATE), open_baseline(path / _BASELINE))

    @property
    def name(self) -> str:
        """For messages."""
        return f"gate of {self.candidate.name}"

    @property
    def key(self) -> str:
        """The folder is a new one for each gate: a device keeps the files of the last one."""
        return "gate"

    @property
    def document(self) -> Path:
        """shipment.json."""
        return self.path / SHIPMENT

    def files(self) -> dict[str, tuple[str, int]]:
        """path -> digest, bytes of all files that belong to it."""
        listed = {name: (entry.sha256, entry.bytes) for name, entry in self.listing.files.items()}
        return {**listed, SHIPMENT: (sha256_file(self.document), self.document.stat().st_size)}


def ship(candidate: Bundle, baseline: Baseline, folder: Path) -> Shipment:
    """Fill the empty folder with links to both. The same bundles give the same files, so a job can be taken over."""
    inside = folder / _BASELINE
    if baseline.saved is not None:
        link(baseline.path / BASELINE, inside / BASELINE)
        inside /= BUNDLE
    for bundle, place in ((candidate, folder / _CANDIDATE), (baseline.bundle, inside)):
        for name in bundle.files():
            link(bundle.path / name, place / name)
    files = {file.relative_to(folder).as_posix(): entry_of(file) for file in walk(folder, _AGAIN)}
    write_json(folder / SHIPMENT, Listing(files=files).model_dump(mode="json"))
    return Shipment.open(folder)
