"""ONNX Runtime collects nothing while edgeattn uses it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import tiny_bundle


def verify(bundle: Path, home: Path, temporary: Path, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    environment |= {"HOME": str(home), "TMPDIR": str(temporary), **more}
    return subprocess.run(
        [sys.executable, "-m", "edgeattn", "verify", "-v", str(bundle)],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )


def test_nothing_is_left_in_the_home_and_the_temporary_folder(tmp_path: Path) -> None:
    bundle = tiny_bundle.make(tmp_path / "tiny").path
    home, temporary = tmp_path / "home", tmp_path / "temporary"
    home.mkdir()
    temporary.mkdir()
    done = verify(bundle, home, temporary)
    assert [*home.rglob("*"), *temporary.rglob("*")] == []
    assert "elemetry" not in done.stderr


def test_a_user_s_own_choice_stays(tmp_path: Path) -> None:
    """And the test above looks at the right places: here ONNX Runtime does write there."""
    bundle = tiny_bundle.make(tmp_path / "tiny").path
    home, temporary = tmp_path / "home", tmp_path / "temporary"
    home.mkdir()
    temporary.mkdir()
    verify(bundle, home, temporary, ORT_DISABLE_TELEMETRY="0")
    assert [*home.rglob("*"), *temporary.rglob("*")] != []
