"""The file of the history: several writers, and whatever may have become of it."""

from __future__ import annotations

import multiprocessing
import sqlite3
from contextlib import closing

import pytest
from history_rows import row

from edgeattn.errors import InputError, ResourceError
from edgeattn.history import file as history_file
from edgeattn.history.file import append, file_here, read
from edgeattn.history.measurement import Measurement


def execute(file, *statements):
    with closing(sqlite3.connect(file)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def test_rows_come_back_as_they_were_the_oldest_first(history):
    append(history, [row(2, 9.5, energy_mj=3.0, energy_scope="package"), row(3, 9.0, length=None, unit=None)])
    append(history, [row(1, 10.0)])
    assert read(history) == [
        row(1, 10.0),
        row(2, 9.5, energy_mj=3.0, energy_scope="package"),
        row(3, 9.0, length=None, unit=None),
    ]


def test_the_table_has_a_column_for_each_field_and_the_schema_a_version(history):
    append(history, [row(1, 10.0)])
    with closing(sqlite3.connect(history)) as connection:
        columns = [name for _, name, *_ in connection.execute("PRAGMA table_info(measurements)")]
        assert columns == ["id", *Measurement.model_fields]
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)


def _append_five(file, day):
    for number in range(5):
        append(file, [row(day, float(number)), row(day, float(number), engine="dense")])


def test_several_processes_write_at_once(history):
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_append_five, args=(history, day)) for day in range(1, 5)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0] * 4
    assert len(read(history)) == 4 * 5 * 2


def text(file):
    file.write_text("a file of notes, not a database\n" * 100)


def cut(file):
    append(file, [row(day, 1.0) for day in range(1, 29)] * 20)
    file.write_bytes(file.read_bytes()[:6000])


def newer(file):
    append(file, [row(1, 1.0)])
    execute(file, "PRAGMA user_version = 7")


def another(file):
    execute(file, "CREATE TABLE contacts (name TEXT)")


DAMAGE = {
    text: "cannot be read as a history: file is not a database\n  fix: move it away, and a new one is begun",
    cut: "cannot be read as a history: database disk image is malformed\n  fix: move it away",
    newer: "has schema version 7; this edgeattn knows version 1\n  fix: upgrade edgeattn",
    another: "is another database, not a history of edgeattn\n  fix: name another file with EDGEATTN_HISTORY",
}


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("use", [read, lambda file: append(file, [row(2, 2.0)])], ids=["read", "append"])
def test_a_file_that_is_no_history_is_refused_and_stays(history, damage, use):
    history.parent.mkdir()
    damage(history)
    before = history.read_bytes()
    with pytest.raises(InputError) as raised:
        use(history)
    assert str(raised.value).startswith(f"{history}: {DAMAGE[damage]}")
    assert history.read_bytes() == before
    assert [file.name for file in history.parent.iterdir()] == ["history.sqlite"]


def test_a_locked_file_is_waited_for_and_then_said(history, monkeypatch):
    monkeypatch.setattr(history_file, "_WAIT_S", 0.1)
    append(history, [row(1, 10.0)])
    with closing(sqlite3.connect(history, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ResourceError, match=r"is locked by another process .*\n  fix: try again once"):
            append(history, [row(2, 10.0)])
    assert read(history) == [row(1, 10.0)]


def test_a_writer_that_dies_leaves_none_of_its_rows(history):
    append(history, [row(1, 10.0)])
    columns = ", ".join(Measurement.model_fields)
    with closing(sqlite3.connect(history, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute(f"INSERT INTO measurements ({columns}) SELECT {columns} FROM measurements")
    append(history, [row(2, 10.0)])
    assert len(read(history)) == 2


def test_a_row_that_somebody_changed_is_named(history):
    append(history, [row(1, 10.0)])
    execute(history, "UPDATE measurements SET p50_ms = 'fast'")
    with pytest.raises(InputError, match="measurement 1 is damaged: p50_ms: Input should be a valid number"):
        read(history)


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(ResourceError, match=r"cannot be opened or written: .*\n  fix: check the disk"):
        append(tmp_path / "taken" / "history.sqlite", [row(1, 10.0)])
    with pytest.raises(ResourceError, match="cannot be opened or written: unable to open database file"):
        append(tmp_path, [row(1, 10.0)])


def test_where_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEATTN_CACHE", str(tmp_path))
    monkeypatch.delenv("EDGEATTN_HISTORY")
    assert file_here() == tmp_path / "history.sqlite"
    monkeypatch.setenv("EDGEATTN_HISTORY", str(tmp_path / "other.sqlite"))
    assert file_here() == tmp_path / "other.sqlite"
    monkeypatch.setenv("EDGEATTN_HISTORY", "off")
    assert file_here() is None
