"""Runtimes collect nothing while edgeattn uses them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_bundle
from runtimes_here import require

from edgeattn.runtimes import RUNTIMES

# What makes libraries silent, as in continuous integration.
SILENCING = ("ORT_DISABLE_TELEMETRY", "CI", "TF_BUILD", "JENKINS_URL", "PYTEST_CURRENT_TEST")


def verify(bundle: Path, home: Path, temporary: Path) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key not in SILENCING}
    environment |= {"HOME": str(home), "TMPDIR": str(temporary)}
    return subprocess.run(
        [sys.executable, "-m", "edgeattn", "verify", "-v", str(bundle)],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )


@pytest.mark.parametrize("runtime", list(RUNTIMES))
def test_nothing_is_left_in_the_home_and_the_temporary_folder(runtime: str, tmp_path: Path) -> None:
    require(runtime, to_run=True)
    bundle = tiny_bundle.make(tmp_path / "tiny", runtime=runtime).path
    home, temporary = tmp_path / "home", tmp_path / "temporary"
    home.mkdir()
    temporary.mkdir()
    done = verify(bundle, home, temporary)
    assert [*home.rglob("*"), *temporary.rglob("*")] == []
    assert "elemetry" not in done.stderr


@pytest.mark.parametrize(("before", "after"), [({}, "1"), ({"ORT_DISABLE_TELEMETRY": "0"}, "0")])
def test_the_switch_is_set_unless_the_user_has_set_it(before: dict[str, str], after: str) -> None:
    """ONNX Runtime itself is silent under continuous integration, so the test above would not notice there."""
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    program = "import os, edgeattn.runtimes.onnxruntime; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env={**environment, **before}
    )
    assert done.stdout == f"{after}\n"


@pytest.mark.parametrize("library", ["openvino", "nncf"])
def test_libraries_of_openvino_write_no_identifier(library: str, tmp_path: Path) -> None:
    pytest.importorskip(library)
    environment = {key: value for key, value in os.environ.items() if key not in SILENCING}
    program = f"import sys, edgeattn, {library}; print([name for name in sys.modules if 'openvino_telemetry.' in name])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True,
        env={**environment, "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.stdout == "[]\n"
    assert list(tmp_path.rglob("*")) == []
