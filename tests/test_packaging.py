"""The wheel: its files, its requirements, and that an installed copy finds its files."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

import edgeattn

ROOT = Path(__file__).parents[1]
EXTRAS = {"onnxruntime", "compile", "tensorrt", "rtx", "openvino", "history", "nvml", "report", "demo", "dev"}


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
        shipped = [path for path in (ROOT / kind).rglob("*") if path.is_file()]
        expected |= {f"edgeattn/_{kind}/{path.relative_to(ROOT / kind).as_posix()}" for path in shipped}
    expected.add("optimum/commands/register/edgeattn.py")
    assert {name for name in _names(wheel) if not name.startswith(_dist_info(wheel))} == expected


@pytest.mark.parametrize(
    "name",
    [
        "_recipes/minilm-hedgehog.yaml",
        "_devices/cpu.yaml",
        "_devices/operators/tensorrt.yaml",
        "recipe/starters/text-embedding.yaml",
        "report/templates/page.html.j2",
        "report/templates/style.css",
    ],
)
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
    assert names == {"click", "jinja2", "numpy", "packaging", "psutil", "pydantic", "pyyaml", "rich"}


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


# optimum-cli as it runs where edgeattn is installed: without this environment's own .pth file, which would name this
# or another checkout a second time. blocked: packages that are then not installed.
OPTIMUM_CLI = """
import sys
from importlib.machinery import PathFinder

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.split(".")[0] in {blocked!r} else PathFinder.find_spec(name, path, target)

sys.meta_path[:] = [Without if finder is PathFinder else finder for finder in sys.meta_path]
from optimum.commands.optimum_cli import main
main()
"""


def optimum_cli(
    root: Path, folder: Path, *arguments: str, blocked: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """root: where edgeattn is installed, a checkout or an unpacked wheel. folder: where it is typed."""
    packages = sysconfig.get_paths()["purelib"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(root), packages))}
    return subprocess.run(
        [sys.executable, "-S", "-c", OPTIMUM_CLI.format(blocked=blocked), *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module", params=["wheel", "checkout"])
def installed(request: pytest.FixtureRequest, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if request.param == "checkout":
        return ROOT
    site = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return site


def test_optimum_cli_has_the_command(installed: Path, tmp_path: Path) -> None:
    done = optimum_cli(installed, tmp_path, "export", "edgeattn", "--recipe", "digits-vti", "--target", "cpu", "out")
    assert (done.returncode, done.stdout) == (2, "")
    assert re.search(r"^error: .*digits-vti.*\n  fix: did you mean 'digits-vit'", done.stderr, re.MULTILINE)
    assert list(tmp_path.iterdir()) == []


def test_optimum_cli_works_without_the_host_half(installed: Path, tmp_path: Path) -> None:
    """Its other commands do, and this one says what is missing."""
    missing = ("torch", "transformers", "onnx", "pydantic", "yaml")
    done = optimum_cli(installed, tmp_path, "export", "--help", blocked=(*missing, "click", "numpy"))
    assert done.returncode == 0, done.stderr
    assert "edgeattn" in done.stdout
    done = optimum_cli(installed, tmp_path, "export", "edgeattn", "--recipe", "digits-vit", "out", blocked=missing)
    assert done.returncode == 4, done.stderr
    assert "is not installed\n  fix: " in done.stderr
