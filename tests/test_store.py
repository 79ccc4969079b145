"""A stage is built once, comes from the store afterwards, and is built again when any of its inputs changes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeattn.errors import ToolError, TrainingError
from edgeattn.store import Store, sha256_file, write_json


class Stage:
    """A stage that counts how often it was built."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.builds = 0

    def __call__(self, version=1, **changes):
        arguments = {"reads": {"steps": 3}, "libraries": {"torch": "2.13"}, "build": self.build, **changes}
        return self.store.run("distill", version, **arguments)

    def build(self, out: Path, work: Path):
        self.builds += 1
        (out / "nested").mkdir()
        (out / "nested" / "weights.bin").write_bytes(b"weights")
        return {"loss": 0.25, "shape": (1, 2)}


@pytest.fixture
def stage(tmp_path):
    return Stage(Store(tmp_path / "cache"))


def test_second_run_comes_from_the_store(stage):
    first, second = stage(), stage()
    assert (first.cached, second.cached, stage.builds) == (False, True, 1)
    assert first.path == second.path
    assert (second.path / "nested/weights.bin").read_bytes() == b"weights"
    assert first.meta == second.meta == {"loss": 0.25, "shape": [1, 2]}
    assert first.digest == second.digest
    assert first.digest.startswith("sha256:")


@pytest.mark.parametrize(
    "change",
    [{"version": 2}, {"reads": {"steps": 4}}, {"inputs": ["sha256:0"]}, {"libraries": {"torch": "2.14"}}],
)
def test_whatever_a_stage_rests_on_is_in_its_key(stage, change):
    """The version of a tool is part of the key too."""
    before = stage()
    after = stage(**change)
    assert not after.cached
    assert after.path != before.path
    assert stage().cached


def test_an_input_counts_by_its_content(stage, tmp_path):
    """The same content from another store, under another key, is the same input."""
    other = Stage(Store(tmp_path / "other"))
    stage(inputs=[stage(reads=1)])
    assert stage(inputs=[other(reads=2)]).cached


def test_fresh_builds_again_without_the_old_checkpoints(stage):
    def interrupted(out, work):
        (work / "checkpoint").write_text("step 2")
        raise TrainingError("stopped")

    stage()
    with pytest.raises(TrainingError):
        stage(fresh=True, build=interrupted)

    def resumes(out, work):
        return {"found": [path.name for path in work.iterdir()]}

    assert stage(fresh=True, build=resumes).meta == {"found": []}


def test_fresh_builds_again_once_in_a_command(stage):
    """What one target of a command has built again, the next one takes."""
    stage()
    assert [stage(fresh=True).cached for _ in range(2)] == [False, True]
    assert not Stage(Store(stage.store.root))(fresh=True).cached


def test_a_failure_is_not_cached_and_leaves_its_checkpoints(stage):
    def fails(out, work):
        (out / "half").write_text("half")
        (work / "checkpoint").write_text("step 2")
        raise TrainingError("loss became NaN at step 2")

    with pytest.raises(TrainingError, match="NaN at step 2"):
        stage(build=fails)
    assert not list(stage.store.root.rglob("half"))

    def resumes(out, work):
        return {"from": (work / "checkpoint").read_text()}

    done = stage(build=resumes)
    assert (done.meta, done.cached) == ({"from": "step 2"}, False)
    assert list(done.path.iterdir()) == []
    assert not list((stage.store.root / "work").iterdir())


def test_a_stage_may_not_leave_links(stage):
    def links(out, work):
        (out / "passwd").symlink_to("/etc/passwd")
        return {}

    with pytest.raises(ToolError, match="passwd: a stage may not leave a link"):
        stage(build=links)


def test_default_root(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("EDGEATTN_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert Store.default_root() == tmp_path / ".cache" / "edgeattn"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert Store.default_root() == tmp_path / "xdg" / "edgeattn"
    monkeypatch.setenv("EDGEATTN_CACHE", str(tmp_path / "own"))
    assert Store.default_root() == tmp_path / "own"


def test_write_json_replaces_whole_or_not_at_all(tmp_path):
    file = tmp_path / "bench.json"
    write_json(file, {"b": 1, "a": None})
    assert file.read_text() == '{\n "a": null,\n "b": 1\n}\n'
    digest = sha256_file(file)
    with pytest.raises(ValueError, match="Out of range float"):
        write_json(file, {"latency_ms": float("nan")})
    assert sha256_file(file) == digest
    assert json.loads(file.read_text())["b"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["bench.json"]
