from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from email.message import Message
from pathlib import Path

import pytest

from edgeattn.cli.installed import how_to_install, in_range
from edgeattn.cli.main import run

REQUIRES = [
    "click>=8.1",
    "psutil>=5.9",
    "pyyaml>=6.0",
    "onnxruntime>=1.20; extra == 'onnxruntime'",
    'edgeattn[onnxruntime] ; extra == "compile"',
    "onnxruntime<1.33,>=1.32; extra == 'compile'",
    "onnxruntime>=1.20; extra == 'compile'",
    "torch<2.14,>=2.13.0; extra == 'compile'",
    "tensorrt>=8.5; extra == 'tensorrt'",
    "ruff>=0.12; extra == 'dev'",
]
VERSIONS = {
    "click": "8.1.7",
    "psutil": "7.2.2",
    "pyyaml": "6.0.3",
    "onnxruntime": "1.22.0",
    "tensorrt": "8.5.2.2",
}


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Makes the given packages, and no others, look installed."""
    metadata = Message()
    metadata["Requires-Python"] = ">=3.10"
    monkeypatch.setenv("EDGEATTN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: REQUIRES)
    monkeypatch.setattr(importlib.metadata, "metadata", lambda name: metadata)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    def pretend(**changes: str | None) -> None:
        versions = {**VERSIONS, **changes}

        def version(name: str) -> str:
            found = versions.get(name)
            if found is None:
                raise importlib.metadata.PackageNotFoundError(name)
            return found

        monkeypatch.setattr(importlib.metadata, "version", version)

    return pretend


def _document(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, object]]:
    document = json.loads(capsys.readouterr().out)
    document["parts"] = {part["extra"]: part for part in document["parts"]}
    return document


def test_a_device_without_the_host_half_is_well(
    installed: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    installed()

    assert run(["doctor"]) == 0

    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "click 8.1.7 >=8.1 ok" in lines
    assert "compile: the host half: makes bundles from recipes" in lines
    assert "torch - >=2.13.0,<2.14 missing" in lines
    assert "to get it: pip install 'edgeattn[compile]'" in lines
    assert "onnxruntime 1.22.0 >=1.32,>=1.20,<1.33 outside the tested range" in lines
    assert "onnxruntime: a runtime, which runs bundles" in lines
    assert (
        "tensorrt: a runtime, which runs bundles; its engines have not been run on hardware by edgeattn's authors yet"
        in lines
    )
    assert not any("ruff" in line for line in lines)


def test_a_python_too_old_for_the_host_half_is_told(
    installed: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    installed()
    monkeypatch.setattr("edgeattn.cli.installed.HOST_PYTHON", (99, 0))

    assert run(["doctor"]) == 0

    out = capsys.readouterr().out
    assert "to get it: in an environment of Python 99.0 or later: pip install 'edgeattn[compile]'" in out
    assert how_to_install("tensorrt") == "pip install 'edgeattn[tensorrt]'"  # of the device half


def test_an_incomplete_device_half_exits_with_4_and_says_the_remedy(
    installed: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    installed(psutil="5.8.0", pyyaml=None)

    assert run(["doctor", "--json"]) == 4

    document = _document(capsys)
    assert document["device_half"] is False
    part = document["parts"][None]
    assert part["install"] == "pip install --upgrade edgeattn"
    assert {each["name"]: each["status"] for each in part["packages"]} == {
        "python": "ok",
        "click": "ok",
        "psutil": "outside the tested range",
        "pyyaml": "missing",
    }
    assert document["machine"] is None

    assert run(["doctor"]) == 4
    assert "Facts about this machine need the complete device half." in capsys.readouterr().out


def test_a_runtime_under_another_name_is_found(
    installed: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    installed(onnxruntime=None, **{"onnxruntime-gpu": "1.24.1"})
    spec = importlib.machinery.ModuleSpec("onnxruntime", None, origin="somewhere")
    monkeypatch.setattr(importlib.util, "find_spec", {"onnxruntime": spec}.get)
    monkeypatch.setattr(importlib.metadata, "packages_distributions", lambda: {"onnxruntime": ["onnxruntime-gpu"]})

    assert run(["doctor", "--json"]) == 0

    (package,) = _document(capsys)["parts"]["onnxruntime"]["packages"]
    assert package == {"name": "onnxruntime", "installed": "1.24.1", "tested": ">=1.20", "status": "ok"}


def test_machine_meters_and_cache_are_told(
    installed: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    installed()

    assert run(["doctor", "--json"]) == 0

    document = _document(capsys)
    assert document["machine"]["cores_usable"] > 0
    assert [meter["name"] for meter in document["meters"]] == ["wall", "rapl", "model"]
    assert all(meter["available"] or meter["reason"] for meter in document["meters"])
    assert document["cache"]["folder"] == str(tmp_path / "cache")
    assert document["cache"]["free_bytes"] > 0
    assert not (tmp_path / "cache").exists()  # doctor writes nothing


def test_a_jetson_is_told_with_what_was_never_run_there(
    installed: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    installed(tensorrt=None)
    trees = Path(__file__).parents[1] / "devices/trees"
    monkeypatch.setenv("EDGEATTN_ROOT", str(trees / "agx-orin-64gb"))

    assert run(["doctor"]) == 0

    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "device jetson-agx-orin-64gb: Jetson AGX Orin 64 GB, module or Developer Kit." in lines
    assert "power mode MODE_30W, of MAXN, MODE_15W, MODE_30W, MODE_50W" in lines
    told = "TensorRT JetPack 5.1 to 5.1.6 has it for Python 3.8, and edgeattn needs 3.10 or later: "
    assert f"{told}build the bundle's graphs with trtexec" in lines
    assert "not run by edgeattn's developers on such a device (jetson-agx-orin-64gb)" in lines
    assert "- TensorRT's builder and its engines on a Jetson" in lines

    assert run(["doctor", "--json"]) == 0
    device = _document(capsys)["device"]
    assert (device["device"], device["release"], device["tensorrt"]) == (
        "jetson-agx-orin-64gb",
        "JetPack 5.1 to 5.1.6",
        None,
    )


def test_a_checkout_that_is_not_installed_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(name: str) -> list[str]:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", missing)

    assert run(["doctor"]) == 4
    err = capsys.readouterr().err
    assert "error: edgeattn is not installed as a package" in err
    assert "pip install --editable ." in err


def test_doctor_imports_neither_torch_nor_a_runtime() -> None:
    program = (
        "import sys; from edgeattn.cli.main import run; run(['doctor', '--json']); "
        "sys.exit(' '.join({'torch', 'transformers', 'onnx', 'onnxruntime', 'openvino'} & set(sys.modules)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert '"cores_usable"' in done.stdout


@pytest.mark.parametrize(
    ("version", "tested", "inside"),
    [
        ("2.13.0+cpu", ">=2.13.0,<2.14", True),
        ("2.13", ">=2.13.0,<2.14", True),
        ("2.14.0rc1", ">=2.13.0,<2.14", False),
        ("1.9", ">=1.23", False),  # by number, not by letter
        ("0.1.0", "==0.1.0", True),
        ("0.1.1", "!=0.1.1", False),
        ("unknown", ">=1.0", None),
        ("1.0", "~=1.0", True),
        ("1.0", "about 1", None),
        ("unknown", "", True),
    ],
)
def test_versions_are_compared_by_their_numbers(version: str, tested: str, inside: bool | None) -> None:
    assert in_range(version, tested) is inside
