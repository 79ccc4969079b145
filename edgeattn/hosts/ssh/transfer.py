"""Files to a device and back, by digest: only what differs travels, and a transfer that breaks off is continued.

A file is the stdin of `cat` or the stdout of `tail` there: these are on every device, where sftp may be switched off
and has a quoting language of its own, rsync is not part of Debian's or JetPack's base, and tar cannot go on in the
middle of a file. A file has its digest as its name until it is complete, and is put in place once that was checked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from edgeattn.errors import BundleError, ToolError
from edgeattn.hosts.ssh.connection import Connection
from edgeattn.progress import Progress
from edgeattn.store import sha256_file

# path in the bundle -> digest, bytes
Files = Mapping[str, tuple[str, int]]

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+=@,-]*(/[A-Za-z0-9_][A-Za-z0-9._+=@,-]*)*")
_MAX_FILES = 10_000
_BACK_LIMIT_BYTES = 1 << 30  # at the least; up to four times the bundle for a large one
_FILE_S = 4 * 3600


def check_names(files: Files, where: str, fix: str) -> None:
    """Raises BundleError for a path that leaves the bundle, or has characters that a bundle's files never have."""
    for name in files:
        if not _NAME.fullmatch(name) or len(name) > 255:
            raise BundleError(f"lists {name!r}, which is not a name of a bundle's file", where=where, fix=fix)


def send_bundle(
    connection: Connection, root: Path, files: Files, missing: Mapping[str, int], progress: Progress
) -> None:
    """Send the files of the bundle in `root` whose digests are `missing` on the device.

    missing: digest -> bytes of it that have arrived.
    """
    by_digest = {digest: root / name for name, (digest, _) in files.items()}
    for count, (digest, here) in enumerate(missing.items(), 1):
        send(connection, by_digest[digest], f"incoming/{digest.removeprefix('sha256:')}.part", here)
        progress.update(count, len(missing), "files sent")


def send(connection: Connection, file: Path, to: str, offset: int = 0) -> None:
    """Append a file from byte `offset` on to the file `to` on the device."""
    with file.open("rb") as stream:
        stream.seek(offset)
        reply = connection.run(["sh", "-c", 'cat >> "$0"', to], feed=stream, timeout_s=_FILE_S)
    connection.require(reply, f"{file.name} cannot be written")


def fetch(connection: Connection, remote: str, to: Path, digest: str, size: int) -> None:
    """Bring a file of the device here, whole and with the expected digest; goes on where an earlier call broke off.

    Raises ToolError where it is another.
    """
    here = to.stat().st_size if to.exists() else 0
    words = ["tail", "-c", f"+{here + 1}", "--", remote]
    with to.open("ab") as stream:
        reply = connection.run(words, timeout_s=_FILE_S, limit_bytes=size - here + 1, to=stream)
    connection.require(reply, f"{remote} cannot be read")
    found = sha256_file(to)
    if found != digest:
        to.unlink()
        raise ToolError(
            f"{remote} was changed on its way: its digest is {found}, {digest} was announced",
            where=connection.place,
            fix="run the same command again; where it happens again, do not trust the device",
        )


def check_returned(files: Files, sent: Files, place: str) -> dict[str, tuple[str, int]]:
    """The files that the device changed or added. Raises BundleError for a list that no job would give."""
    fix = "do not use this result: the device gives what no job writes"
    check_names(files, place, fix)
    changed = {name: entry for name, entry in files.items() if sent.get(name) != entry}
    limit = max(_BACK_LIMIT_BYTES, 4 * sum(size for _, size in sent.values()))
    total = sum(size for _, size in changed.values())
    if len(files) > _MAX_FILES or total > limit:
        fact = f"would send {len(files)} files, {total} bytes of them changed; the limits are {_MAX_FILES} and {limit}"
        raise BundleError(fact, where=place, fix=fix)
    return changed
