"""The SQLite file of the history. It is appended to and read, never overwritten: a damaged one is left as it is.

Several processes may append at once: SQLite locks the file, and a bench is one transaction. The file keeps SQLite's
rollback journal, which also works on network file systems.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from pydantic import ValidationError

from edgeattn.errors import EdgeattnError, InputError, ResourceError
from edgeattn.history.measurement import Measurement
from edgeattn.store import Store

VARIABLE = "EDGEATTN_HISTORY"
OFF = "off"
SCHEMA_VERSION = 1  # the file's user_version
APPLICATION = 0x45444741  # "EDGA", the file's application_id

_WAIT_S = 10.0  # for other processes
_NUMBERS = {"threads": "INTEGER", "length": "INTEGER", "batch_size": "INTEGER"} | dict.fromkeys(
    ("p50_ms", "p90_ms", "energy_mj", "peak_memory_mb"), "REAL"
)
_COLUMNS = tuple(Measurement.model_fields)
_CREATE = "CREATE TABLE measurements (id INTEGER PRIMARY KEY, {})".format(
    ", ".join(f"{name} {_NUMBERS.get(name, 'TEXT')}" for name in _COLUMNS)
)
_INSERT = f"INSERT INTO measurements ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"
_SELECT = f"SELECT id, {', '.join(_COLUMNS)} FROM measurements ORDER BY created_utc, id"
_MOVE_AWAY = f"move it away, and a new one is begun; or name another with {VARIABLE}"


def file_here() -> Path | None:
    """$EDGEATTN_HISTORY, else history.sqlite in the store's folder; None where the variable is "off"."""
    own = os.environ.get(VARIABLE)
    if own == OFF:
        return None
    return Path(own) if own else Store.default_root() / "history.sqlite"


def append(file: Path, rows: Sequence[Measurement]) -> None:
    """Append rows, all of them or none; the file is made where it is missing.

    Raises InputError where the file is damaged, of a newer schema or something else; ResourceError where it is locked
    for 10 s or cannot be written. In all of these cases it stays as it is.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(file, error.strerror) from error
    with _opened(file, "rwc") as connection:
        connection.execute("BEGIN IMMEDIATE")  # the lock comes first, so that two processes cannot both make the table
        if not _is_ours(file, connection):
            connection.execute(_CREATE)
            connection.execute(f"PRAGMA application_id = {APPLICATION}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.executemany(_INSERT, [tuple(getattr(row, name) for name in _COLUMNS) for row in rows])
        connection.execute("COMMIT")


def read(file: Path) -> list[Measurement]:
    """All rows, the oldest first; raises as `append` does."""
    with _opened(file, "rw") as connection:
        found = connection.execute(_SELECT).fetchall() if _is_ours(file, connection) else []
    rows = []
    for number, *values in found:
        try:
            rows.append(Measurement(**dict(zip(_COLUMNS, values, strict=True))))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise InputError(
                f"measurement {number} is damaged: {first['loc'][0]}: {first['msg']}", where=str(file), fix=_MOVE_AWAY
            ) from None
    return rows


def _is_ours(file: Path, connection: sqlite3.Connection) -> bool:
    """Whether the file has the table; False for a new one. Raises InputError for a file that is not a history."""
    (application,), (version,) = (
        connection.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")
    )
    if (application, version) == (0, 0) and not connection.execute("SELECT 1 FROM sqlite_master").fetchone():
        return False
    if application != APPLICATION:
        fix = f"name another file with {VARIABLE}"
        raise InputError("is another database, not a history of edgeattn", where=str(file), fix=fix)
    if version != SCHEMA_VERSION:
        raise InputError(
            f"has schema version {version}; this edgeattn knows version {SCHEMA_VERSION}",
            where=str(file),
            fix="upgrade edgeattn: pip install --upgrade edgeattn",
        )
    return True


@contextmanager
def _opened(file: Path, mode: str) -> Iterator[sqlite3.Connection]:
    """A connection whose errors are ours. What is not committed when it is closed is rolled back."""
    try:
        uri = f"{file.absolute().as_uri()}?mode={mode}"
        with closing(sqlite3.connect(uri, uri=True, timeout=_WAIT_S, isolation_level=None)) as connection:
            yield connection
    except sqlite3.OperationalError as error:
        raise _operational(file, error) from error
    except (sqlite3.DatabaseError, UnicodeError) as error:  # not a database, or damaged
        raise InputError(f"cannot be read as a history: {error}", where=str(file), fix=_MOVE_AWAY) from error


def _operational(file: Path, error: sqlite3.OperationalError) -> EdgeattnError:
    said = str(error)
    if "locked" in said:
        return ResourceError(
            f"is locked by another process for more than {_WAIT_S:.0f} s",
            where=str(file),
            fix=f"try again once that process has ended, or name another file with {VARIABLE}",
        )
    if "no such column" in said or "no such table" in said or "decode" in said:
        return InputError(f"cannot be read as a history: {said}", where=str(file), fix=_MOVE_AWAY)
    return _unwritable(file, said)


def _unwritable(file: Path, reason: str | None) -> ResourceError:
    fix = f"check the disk and the file's permissions, or name another file with {VARIABLE}"
    return ResourceError(f"cannot be opened or written: {reason}", where=str(file), fix=fix)
