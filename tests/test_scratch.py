"""Temporary folders: private, removed at the end, or by the next process if theirs was killed."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import tiny_bundle

from edgeattn.errors import ResourceError
from edgeattn.scratch import scratch, sweep

HOLDER = """
import time
from edgeattn.scratch import scratch
with scratch("bench") as folder:
    print(folder, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that temporary folders are made in, here and in subprocesses."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def holder() -> tuple[subprocess.Popen[str], Path]:
    """A process that keeps a scratch folder, and the folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_a_folder_is_private_named_for_its_process_and_removed(temporary: Path) -> None:
    with scratch("verify") as folder:
        assert folder.name.startswith(f"edgeattn-verify-{os.getpid()}-")
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "feeds.npz").write_bytes(b"x")
    with pytest.raises(ValueError, match="of the body"), scratch("bench"):
        raise ValueError("of the body")
    assert list(temporary.iterdir()) == []


def test_the_folder_of_a_killed_process_is_swept_and_that_of_a_living_one_is_not(temporary: Path) -> None:
    (killed, left), (living, held) = holder(), holder()
    try:
        killed.kill()
        killed.wait()
        (left / "feeds.npz").write_bytes(b"x")
        mine, link = temporary / "edgeattn-notes", temporary / "edgeattn-bench-1-abcd1234"
        mine.mkdir()
        link.symlink_to(mine)
        sweep(temporary)
        assert sorted(path.name for path in temporary.iterdir()) == sorted([held.name, mine.name, link.name])
    finally:
        living.kill()
        living.wait()


def test_a_folder_that_was_swept_before_it_was_locked_is_made_again(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, made = tempfile.mkdtemp, []

    def raced(**options: str) -> str:
        made.append(make(**options))
        if len(made) == 1:
            sweep(temporary)
        return made[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", raced)
    with scratch("bench") as folder:
        assert folder.is_dir()
        assert [str(folder)] == made[1:]


def test_no_temporary_folder_at_all_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise FileNotFoundError("No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    with (
        pytest.raises(ResourceError, match=r"no temporary folder can be written to\n  fix: .*TMPDIR"),
        scratch("bench"),
    ):
        pass


def test_what_a_killed_bench_left_is_gone_after_the_next_verify(temporary: Path, tmp_path: Path) -> None:
    bundle = tiny_bundle.make(tmp_path / "tiny")
    bench = subprocess.Popen([sys.executable, "-m", "edgeattn", "bench", str(bundle.path)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while not list(temporary.glob("edgeattn-bench-*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    bench.send_signal(signal.SIGKILL)
    bench.wait()
    assert list(temporary.glob("edgeattn-bench-*"))
    verify = [sys.executable, "-m", "edgeattn", "verify", "--json", str(bundle.path)]
    assert json.loads(subprocess.run(verify, capture_output=True, check=True).stdout)["passed"] is True
    assert list(temporary.glob("edgeattn-*")) == []
