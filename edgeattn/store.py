"""The content-addressed store of stages' artifacts: the same inputs are never built twice.

<root>/objects/<key[:2]>/<key>/{artifact.json, files/...}    committed whole or not at all
<root>/work/<key>/                                           survives a kill: a stage resumes from it
<root>/locks/<key>.lock                                      held by the kernel, so it cannot go stale
<root>/quarantine/                                           entries that failed their digest
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeattn.errors import EdgeattnError, ResourceError, ToolError

_log = logging.getLogger("edgeattn")

_FULL = (errno.ENOSPC, errno.EDQUOT)
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR)
_PROBE_BYTES = 1 << 16
_SAY_WAITING_AFTER_S = 1.0
_OTHER_ROOT = "set the environment variable EDGEATTN_CACHE to another folder"


_Build = Callable[[Path, Path], dict[str, Any]]


@dataclass(frozen=True)
class Artifact:
    """The result of a stage.

    path: a folder, read-only for callers.
    digest: "sha256:<hex>" over relative file names, their digests, and meta.
    meta: small JSON facts that the stage recorded.
    cached: True when it came from the store.
    """

    path: Path
    digest: str
    meta: dict[str, Any]
    cached: bool


def sha256_file(path: Path) -> str:
    """The file's digest as "sha256:<hex>"."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return f"sha256:{digest.hexdigest()}"


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; once written, it replaces `path` whole, or not at all on an error."""
    # Always the same name, so that the next attempt removes what a killed process left.
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        yield temporary
        fsync(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    fsync(path.parent)


def write_json(path: Path, document: Any) -> None:
    """Write a document whole or not at all. Raises ValueError for NaN and infinity, TypeError for objects."""
    text = json.dumps(document, sort_keys=True, indent=1, allow_nan=False)
    with replacing(path) as temporary:
        temporary.write_text(text + "\n")


def copy_folder(source: Path, to: Path) -> None:
    """Copy the files of `source` into the folder `to`, made if missing.

    Raises OSError at the first file that cannot be copied, where shutil.copytree raises a list of tuples at the end.
    """
    for folder, _, names in os.walk(source):
        target = to / Path(folder).relative_to(source)
        target.mkdir(parents=True, exist_ok=True)
        for name in names:
            shutil.copyfile(Path(folder, name), target / name)


def fsync(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def locked(fd: int, what: str) -> Iterator[None]:
    """Hold the exclusive lock of an open file or folder; logs once when another process holds it for long."""
    say_at = time.monotonic() + _SAY_WAITING_AFTER_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() < say_at:
                time.sleep(0.02)
                continue
        _log.warning("waiting for another process that is making %s", what)
        fcntl.flock(fd, fcntl.LOCK_EX)
        break
    try:
        yield
    finally:
        fcntl.flock(fd, fcntl.LOCK_UN)


@contextlib.contextmanager
def disk_errors(root: Path, fix: str) -> Iterator[None]:
    """Turn a full or read-only disk under `root` into a ResourceError with the remedy `fix`."""
    try:
        yield
    except EdgeattnError:
        raise
    except Exception as error:  # only to be raised again, explained
        number = error.errno if isinstance(error, OSError) else None
        # torch, safetensors and numpy hide ENOSPC in errors of their own, so check the disk itself.
        if number in _FULL or (number is None and _is_full(root)):
            fact, remedy = f"the disk is full: {error}", f"free space, or {fix}"
        elif number in _READ_ONLY and isinstance(error, OSError) and _names(error, root):
            fact, remedy = f"cannot be written to: {error}", fix
        else:
            raise
        raise ResourceError(fact, where=str(root), fix=remedy) from error


def _is_full(root: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=root, buffering=0) as probe:
            return probe.write(b"\0" * _PROBE_BYTES) < _PROBE_BYTES
    except OSError as error:
        return error.errno in _FULL


def _names(error: OSError, root: Path) -> bool:
    return any(
        isinstance(name, (str, os.PathLike)) and Path(name).is_relative_to(root)
        for name in (error.filename, error.filename2)
    )


class Store:
    """A folder of artifacts by key. Several processes may share one."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._fresh: set[str] = set()  # keys that were built with `fresh` through this object

    @staticmethod
    def default_root() -> Path:
        """$EDGEATTN_CACHE, else edgeattn/ in $XDG_CACHE_HOME, else in ~/.cache."""
        if own := os.environ.get("EDGEATTN_CACHE"):
            return Path(own)
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgeattn"

    def find(
        self,
        stage: str,
        version: int,
        *,
        reads: Any,
        inputs: Sequence[Artifact | str] = (),
        libraries: Mapping[str, str] = {},
    ) -> Artifact | None:
        """The stored artifact of a stage, None where there is no sound one; see `run`. Nothing is written."""
        return _sound(self._entry(_key(stage, version, reads, inputs, libraries)))

    def run(
        self,
        stage: str,
        version: int,
        *,
        reads: Any,
        inputs: Sequence[Artifact | str] = (),
        libraries: Mapping[str, str] = {},
        build: _Build,
        fresh: bool = False,
    ) -> Artifact:
        """The artifact of a stage: from the store, or built now.

        The key is the SHA-256 of stage, version, reads (the JSON-able part of the recipe that the stage
        reads), the digests of inputs, and libraries (name -> version).

        build(out, work) writes the artifact's files into the empty folder `out` and returns its meta. `work`
        survives a kill and a failure, for checkpoints; it goes once the artifact is committed. fresh drops
        both what is stored and `work` first, once for each key of this Store. A failure is never stored.

        Raises ResourceError when the disk is full or read-only, and the errors of `build`.
        """
        key = _key(stage, version, reads, inputs, libraries)
        entry = self._entry(key)
        work = self.root / "work" / key
        fresh = fresh and key not in self._fresh
        # No lock is needed, because a commit is atomic; so entries of a read-only cache are still found.
        if not fresh and not work.exists() and (artifact := _sound(entry)) is not None:
            return artifact
        with disk_errors(self.root, _OTHER_ROOT), self._lock(key, stage):
            if fresh:
                _remove(entry)
                _remove(work)
            artifact = self._stored(entry, stage) or self._built(entry, work, stage, build)
            _remove(work)
            if fresh:
                self._fresh.add(key)
            return artifact

    def _entry(self, key: str) -> Path:
        return self.root / "objects" / key[:2] / key

    @contextlib.contextmanager
    def _lock(self, key: str, stage: str) -> Iterator[None]:
        locks = self.root / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        # The file stays: after its removal a third process could lock a new one while a second waits for the old.
        fd = os.open(locks / f"{key}.lock", os.O_RDWR | os.O_CREAT, 0o666)
        try:
            with locked(fd, f"stage {stage}"):
                yield
        finally:
            os.close(fd)

    def _stored(self, entry: Path, stage: str) -> Artifact | None:
        try:
            return _load(entry)
        except FileNotFoundError:
            return None
        except _Damaged as damage:
            shelf = self.root / "quarantine"
            shelf.mkdir(exist_ok=True)
            place = Path(tempfile.mkdtemp(prefix=f"{entry.name}-", dir=shelf))
            entry.replace(place)
            _log.warning("stage %s is damaged in the cache (%s): moved to %s, building it again", stage, damage, place)
            return None

    def _built(self, entry: Path, work: Path, stage: str, build: _Build) -> Artifact:
        staging = entry.with_name(f".{entry.name}.tmp")  # beside its target, as a rename needs
        _remove(staging)  # left by a process that was killed
        out = staging / "files"
        try:
            # Inside, because the disk is no longer full once the staging folder is gone.
            with disk_errors(self.root, _OTHER_ROOT):
                out.mkdir(parents=True)
                work.mkdir(parents=True, exist_ok=True)
                meta = json.loads(json.dumps(build(out, work), allow_nan=False))
                files = _digests(out)
                digest = _digest(files, meta)
                write_json(
                    staging / "artifact.json",
                    {"stage": stage, "files": files, "meta": meta, "digest": digest},
                )
                for folder, _, names in os.walk(staging):
                    for name in names:
                        fsync(Path(folder, name))
                    fsync(Path(folder))
                staging.replace(entry)
                fsync(entry.parent)
        finally:
            _remove(staging)
        return Artifact(entry / "files", digest, meta, cached=False)


def _key(stage: str, version: int, reads: Any, inputs: Sequence[Artifact | str], libraries: Mapping[str, str]) -> str:
    return _sha256_json(
        {
            "stage": stage,
            "version": version,
            "reads": reads,
            "inputs": [item.digest if isinstance(item, Artifact) else item for item in inputs],
            "libraries": dict(libraries),
        }
    )


class _Damaged(Exception):
    """An entry whose files differ from those that were committed."""


def _sound(entry: Path) -> Artifact | None:
    """An entry whose files are what was committed, None where there is no such entry."""
    with contextlib.suppress(FileNotFoundError, _Damaged):
        return _load(entry)
    return None


def _load(entry: Path) -> Artifact:
    """Read an entry, hashing every file. Raises FileNotFoundError when there is none, and _Damaged."""
    if not entry.exists():
        raise FileNotFoundError(entry)
    try:
        document = json.loads((entry / "artifact.json").read_text())
        files, meta, digest = document["files"], document["meta"], document["digest"]
        found = _digests(entry / "files")
    except (OSError, ValueError, KeyError, TypeError, ToolError) as error:
        raise _Damaged(f"unreadable: {error}") from error
    for name in sorted({*files, *found}):
        if files.get(name) != found.get(name):
            raise _Damaged(f"{name}: expected {files.get(name)}, found {found.get(name)}")
    if digest != _digest(files, meta):
        raise _Damaged("artifact.json: its digest does not match its content")
    return Artifact(entry / "files", digest, meta, cached=True)


def _digests(folder: Path) -> dict[str, str]:
    """Relative file name -> digest. Raises ToolError for links, whose targets the store cannot vouch for."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            raise ToolError("a stage may not leave a link", where=str(path))
        if path.is_file():
            found[path.relative_to(folder).as_posix()] = sha256_file(path)
    return found


def _digest(files: dict[str, str], meta: dict[str, Any]) -> str:
    return "sha256:" + _sha256_json({"files": files, "meta": meta})


def _sha256_json(document: Any) -> str:
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _remove(folder: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)
