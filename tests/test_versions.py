from __future__ import annotations

import importlib.metadata
from pathlib import Path

import numpy
import pytest

from edgeattn import stage
from edgeattn.versions import installed_version


@pytest.fixture
def onnxruntime_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that another distribution provides: real metadata on disk, as pip leaves it."""
    (tmp_path / "acme_runtime").mkdir()
    (tmp_path / "acme_runtime" / "__init__.py").touch()
    info = tmp_path / "acme_runtime_gpu-1.24.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-runtime-gpu\nVersion: 1.24.1\n")
    (info / "RECORD").write_text("acme_runtime/__init__.py,,\n")
    monkeypatch.syspath_prepend(tmp_path)


def test_the_version_of_a_package_is_that_of_its_metadata() -> None:
    assert installed_version("numpy") == numpy.__version__
    assert installed_version("PyYAML") == importlib.metadata.version("PyYAML")
    assert installed_version("no-such-package") is None


def test_a_module_that_another_package_provides_has_that_ones_version(onnxruntime_gpu: None) -> None:
    """As onnxruntime of the package onnxruntime-gpu, beside which importlib.metadata.version("onnxruntime") fails."""
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("acme-runtime")
    assert installed_version("acme-runtime") == "1.24.1"
    assert stage.versions("acme-runtime")["acme-runtime"] == "1.24.1"


def test_a_module_without_metadata_is_there_in_an_unknown_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bare_module.py").touch()
    (tmp_path / "bare_folder").mkdir()
    monkeypatch.syspath_prepend(tmp_path)

    assert installed_version("bare-module") == "unknown"
    assert installed_version("bare-folder") is None
