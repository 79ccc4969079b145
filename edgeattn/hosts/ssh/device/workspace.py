"""A bundle's files on their way to the device, and back."""

from __future__ import annotations

import os
import re
import shutil
import time
from pathlib import Path
from typing import Any

from edgeattn.errors import InputError, ResourceError
from edgeattn.hosts.ssh import lease
from edgeattn.hosts.ssh.device.folders import Document, bundle_folder, job_folder
from edgeattn.hosts.ssh.device.state import state_of
from edgeattn.store import sha256_file

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_KEEP_WORKSPACE_S = 14 * 24 * 3600
_ROOM_BYTES = 32 * 1024 * 1024  # beside the bundle's files, for the job's own


def offer(request: Document) -> Document:
    """Make the workspace ready for the bundle's files, and say which are missing.

    request: {workspace, job, files: {path: [digest, bytes]}}. Returns {running: True} where this very job runs, or has
    ended and nobody has taken its result; else {missing: {digest: bytes of it that are here}}.
    """
    if state_of(job_folder(request["job"])) in ("running", "ended"):
        return {"running": True}
    holder = lease.holder()
    if holder is not None and holder.get("workspace") == request["workspace"]:
        raise lease.busy(holder)
    _forget_unused()
    bundle, files = bundle_folder(request), request["files"]
    bundle.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.utime(bundle.parent)
    for name, found in _listing(bundle).items():
        if files.get(name) != found:
            (bundle / name).unlink()
    missing = {digest: size for name, (digest, size) in files.items() if not (bundle / name).is_file()}
    incoming = Path("incoming")
    incoming.mkdir(exist_ok=True)
    for part in incoming.iterdir():
        if part.stem not in {digest.removeprefix("sha256:") for digest in missing}:
            part.unlink()
    here = {digest: _here(_part(digest), size) for digest, size in missing.items()}
    needed, free = sum(missing.values()) - sum(here.values()) + _ROOM_BYTES, shutil.disk_usage(bundle).free
    if needed > free:
        raise ResourceError(
            f"the disk is full: {needed / 1e6:.0f} MB are needed, {free / 1e6:.0f} MB are free",
            where=str(bundle),
            fix="free some space there",
        )
    return {"missing": here}


def place(request: Document) -> Document:
    """Put the files that have arrived in place. Returns {damaged: [digests]}, which must be sent again."""
    bundle, damaged = bundle_folder(request), set()
    absent: dict[str, list[Path]] = {}
    for name, (digest, _) in request["files"].items():
        if not (bundle / name).is_file():
            absent.setdefault(digest, []).append(bundle / name)
    for digest, (first, *others) in absent.items():
        part = _part(digest)
        if not part.is_file() or sha256_file(part) != digest:
            part.unlink(missing_ok=True)
            damaged.add(digest)
            continue
        for target in (*others, first):
            target.parent.mkdir(parents=True, exist_ok=True)
        for target in others:
            arriving = target.with_name(f".{target.name}.tmp")
            shutil.copyfile(part, arriving)
            arriving.replace(target)
        part.replace(first)
    return {"damaged": sorted(damaged)}


def listing(request: Document) -> Document:
    """The bundle's files: {files: {path: [digest, bytes]}}."""
    return {"files": _listing(bundle_folder(request))}


def _forget_unused() -> None:
    """Remove workspaces that were not used for long, and jobs that are no more."""
    for jobs in Path("jobs").glob("*"):
        if state_of(jobs) not in ("running", "ended"):
            shutil.rmtree(jobs, ignore_errors=True)
    for workspace in Path("work").glob("*"):
        if time.time() - workspace.stat().st_mtime > _KEEP_WORKSPACE_S:
            shutil.rmtree(workspace, ignore_errors=True)


def _listing(bundle: Path) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for folder, _, names in os.walk(bundle):
        for name in names:
            file = Path(folder, name)
            if file.is_file() and not file.is_symlink():
                found[file.relative_to(bundle).as_posix()] = [sha256_file(file), file.stat().st_size]
    return found


def _here(part: Path, size: int) -> int:
    """Bytes of a file that have arrived; a part that cannot be its beginning is removed."""
    if not part.is_file():
        return 0
    if part.stat().st_size > size:
        part.unlink()
        return 0
    return part.stat().st_size


def _part(digest: str) -> Path:
    if not _DIGEST.fullmatch(digest):
        raise InputError(f"{digest!r} is not a digest")
    return Path("incoming", digest.removeprefix("sha256:") + ".part")
