"""The wheel: its files, its requirements, and that an installed copy finds its files."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

import edgeattn

ROOT = Path(__file__).parents[1]
EXTRAS = {"onnxruntime", "compile", "tensorrt", "rtx", "openvino", "demo", "dev"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built offline, by the build backend itself."""
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        return Parser().parsestr(archive.read(f"{_dist_info(wheel)}/METADATA").decode())


def _dist_info(wheel: Path) -> str:
    return f"edgeattn-{edgeattn.__version__}.dist-info"


def _names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_it_holds_the_package_whole_and_nothing_else(wheel: Path) -> None:
    package = ROOT / "edgeattn"
    files = [path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    expected = {f"edgeattn/{path.relative_to(package).as_posix()}" for path in files}
    for kind in ("recipes", "devices"):
        expected |= {f"edgeattn/_{kind}/{path.name}" for path in (ROOT / kind).iterdir()}
    assert {name for name in _names(wheel) if not name.startswith(_dist_info(wheel))} == expected


@pytest.mark.parametrize("name", ["_recipes/minilm-hedgehog.yaml", "_devices/cpu.yaml",
                                  "recipe/starters/text-embedding.yaml"])  # fmt: skip
def test_it_holds_what_a_user_reads(wheel: Path, name: str) -> None:
    assert f"edgeattn/{name}" in _names(wheel)


def test_its_metadata(metadata: Message) -> None:
    assert metadata["Name"] == "edgeattn"
    assert metadata["Version"] == edgeattn.__version__
    assert metadata["Requires-Python"] == ">=3.10"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert set(metadata.get_all("Provides-Extra", [])) == EXTRAS


def test_its_licence_is_the_whole_text(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(f"{_dist_info(wheel)}/licenses/LICENSE").decode()
    assert "Apache License\n                           Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_the_device_half_asks_for_little(metadata: Message) -> None:
    required = [text for text in metadata.get_all("Requires-Dist", []) if "extra ==" not in text]
    names = {re.split(r"[^\w-]", text)[0].lower() for text in required}
    assert names == {"click", "numpy", "packaging", "psutil", "pydantic", "pyyaml", "rich"}


def test_commands_find_their_files_in_the_wheel(wheel: Path, tmp_path: Path) -> None:
    """As installed: unpacked in a folder that has no checkout around it."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    for arguments, expected in (
        (["recipes"], "minilm-hedgehog"),
        (["recipes", "show", "digits-vit"], "architecture: vit"),
        (["recipes", "new", "-"], "schema: 1"),
        (["devices"], "cpu  "),
    ):
        done = subprocess.run(
            [sys.executable, "-c", "import edgeattn, sys; from edgeattn.cli.main import run; code = run(sys.argv[1:]); "
             "print(edgeattn.__file__); sys.exit(code)", *arguments],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert expected in done.stdout
        assert done.stdout.splitlines()[-1].startswith(str(tmp_path / "site")), "not the wheel's edgeattn"
