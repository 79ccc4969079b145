"""Temporary folders that are removed even when their process was killed.

The kernel holds each folder's lock for as long as its process lives. A folder whose lock is free was left by a killed
process, and the next process that needs a temporary folder removes it. (The lock also keeps systemd-tmpfiles away from
a folder in use.)
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edgeattn.errors import ResourceError
from edgeattn.store import disk_errors

OTHER_FOLDER = "set the environment variable TMPDIR to another folder"
# Exactly the names that `scratch` gives: a user's own folder that merely begins with "edgeattn-" is never removed.
_NAME = re.compile(r"edgeattn-[a-z]+-[0-9]+-[a-z0-9_]{8}")
_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


@contextlib.contextmanager
def scratch(purpose: str) -> Iterator[Path]:
    """An empty, private temporary folder, edgeattn-PURPOSE-PID-RANDOM, which is removed at the end.

    Raises ResourceError, with TMPDIR as the remedy, when the disk is full or no temporary folder can be written to.
    """
    try:
        parent = Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        raise ResourceError("no temporary folder can be written to", where="TMPDIR", fix=OTHER_FOLDER) from error
    _sweep_once(parent)
    with disk_errors(parent, OTHER_FOLDER):
        folder, lock = _create(parent, purpose)
    try:
        with disk_errors(parent, OTHER_FOLDER):  # inside, because a disk is no longer full once the folder is gone
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def sweep(parent: Path) -> None:
    """Remove the scratch folders in `parent` that killed processes of this user left."""
    for folder in parent.iterdir():
        if not _NAME.fullmatch(folder.name):
            continue
        with contextlib.suppress(OSError), _opened(folder) as fd:  # OSError: its process lives and holds the lock
            if os.fstat(fd).st_uid == os.geteuid():
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)


@functools.cache
def _sweep_once(parent: Path) -> None:
    with contextlib.suppress(PermissionError):  # a folder that may be written to but not listed
        sweep(parent)


def _create(parent: Path, purpose: str) -> tuple[Path, int]:
    """A new folder, and the descriptor that holds its lock."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f"edgeattn-{purpose}-{os.getpid()}-", dir=parent))
        # Before it is locked, another process may remove it as left by a dead one: then make a new one.
        with contextlib.suppress(FileNotFoundError):
            fd = os.open(folder, _FLAGS)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass
            except OSError:  # a file system without locks, where old folders are not removed either
                return folder, fd
            else:
                if folder.exists():
                    return folder, fd
            os.close(fd)


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    fd = os.open(folder, _FLAGS)
    try:
        yield fd
    finally:
        os.close(fd)
