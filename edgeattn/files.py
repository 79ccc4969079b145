"""The files that a folder's document lists with their sizes and digests, as bundle.json does."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from edgeattn.errors import BundleError
from edgeattn.manifest import FileEntry
from edgeattn.store import sha256_file


def walk(path: Path, fix: str) -> Iterator[Path]:
    """Every file under `path`. Raises BundleError, with `fix`, for a link."""
    for folder, folders, names in os.walk(path):
        for name in sorted(folders + names):
            if Path(folder, name).is_symlink():
                raise BundleError("is a link; a bundle holds plain files only", where=str(Path(folder, name)), fix=fix)
        for name in sorted(names):
            yield Path(folder, name)


def entry_of(file: Path) -> FileEntry:
    """The size and digest of a file."""
    return FileEntry(sha256=sha256_file(file), bytes=file.stat().st_size)


def check_relative(path: Path, name: str, document: str) -> None:
    """Raise BundleError for a name in the document of the folder `path` that is not a path inside it."""
    if not re.fullmatch(r"[^/\\\0]+(/[^/\\\0]+)*", name) or {".", ".."} & set(name.split("/")):
        raise BundleError(
            f"lists {name!r}, which is not a path inside the bundle",
            where=str(path / document),
            fix="do not use this bundle: it was tampered with",
        )


def check_listed(path: Path, name: str, entry: FileEntry, document: str, fix: str) -> None:
    """Raise BundleError, with `fix`, unless the file `name` in the folder `path` is as its document says."""
    check_relative(path, name, document)
    file = path / name
    try:
        status = file.lstat()
    except OSError as error:
        raise BundleError(f"is missing: {error.strerror}", where=str(file), fix=fix) from error
    if not stat.S_ISREG(status.st_mode):
        raise BundleError("is not a plain file", where=str(file), fix=fix)
    if status.st_size != entry.bytes:
        raise BundleError(f"has {status.st_size} bytes; {document} says {entry.bytes}", where=str(file), fix=fix)
    found = sha256_file(file)
    if found != entry.sha256:
        raise BundleError(
            f"was changed: its digest is {found}; {document} says {entry.sha256}", where=str(file), fix=fix
        )
