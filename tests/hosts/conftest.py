from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny_bundle
from ssh_device import Device, add, started

from edgeattn.bundle import Bundle


@pytest.fixture
def bare_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    """A device without edgeattn, and no known hosts here."""
    monkeypatch.setenv("EDGEATTN_CONFIG", str(tmp_path / "config"))
    device = started(tmp_path)
    yield device
    device.stop()


@pytest.fixture(scope="session")
def _installed_device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Device]:
    folder = tmp_path_factory.mktemp("device")
    device = started(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEATTN_CONFIG", str(folder / "config"))
        assert add(device, "board", "--runtime", "onnxruntime") == 0
    yield device
    device.stop()


@pytest.fixture
def device(_installed_device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    """A device that was added as the host "board"; installed once, because that takes long."""
    device = _installed_device
    shutil.copytree(device.folder / "config", tmp_path / "config")
    monkeypatch.setenv("EDGEATTN_CONFIG", str(tmp_path / "config"))
    yield device
    device.end_jobs()
    if (real := device.there / "venv/bin/edgeattn-real").exists():
        real.replace(real.with_name("edgeattn"))
    for name in ("jobs", "work", "incoming", "store"):
        shutil.rmtree(device.there / name, ignore_errors=True)


@pytest.fixture
def tiny(tmp_path: Path) -> Bundle:
    return tiny_bundle.make(tmp_path / "tiny")
