"""What can be built and measured here, and with which runtime."""

from __future__ import annotations

import pytest

from edgeattn.devices import CpuFacts, DeviceProfile, RuntimeSupport, load_device
from edgeattn.errors import DeviceError
from edgeattn.runtimes import RUNTIMES
from edgeattn.target import require_here, supported


def device(**versions: str | None) -> DeviceProfile:
    """A device with these runtimes: name -> min_version."""
    runtimes = tuple(
        RuntimeSupport(name=name, min_version=version, opset=(17, 21), methods=("fp32",))
        for name, version in versions.items()
    )
    return DeviceProfile(name="board", description="A board.", runtimes=runtimes)


@pytest.fixture
def onnxruntime(monkeypatch):
    """Sets the installed version."""
    return lambda version: monkeypatch.setattr(type(RUNTIMES["onnxruntime"]), "version", lambda self: version)


@pytest.mark.parametrize("version", ["1.20.0", "1.20", "1.32.0", "1.23.0+cu126", "1.100.1"])
def test_a_runtime_of_the_least_version_or_later_is_used(onnxruntime, version):
    onnxruntime(version)
    assert supported(device(onnxruntime="1.20")).name == "onnxruntime"


def test_an_older_runtime_is_refused_with_both_versions(onnxruntime):
    onnxruntime("1.9.2")
    with pytest.raises(
        DeviceError, match=r"no runtime for board: onnxruntime 1\.9\.2 is installed, 1\.20 or later is needed\n  fix:"
    ) as caught:
        supported(device(onnxruntime="1.20"))
    assert caught.value.exit_code == 4


def test_a_missing_and_an_unknown_runtime_are_both_named(onnxruntime):
    onnxruntime(None)
    with pytest.raises(DeviceError, match="this edgeattn has no runtime tensorrt; onnxruntime is not installed"):
        supported(device(tensorrt="8.5", onnxruntime=None))


def test_the_next_runtime_of_a_profile_serves_where_the_first_does_not(onnxruntime):
    onnxruntime("1.32.0")
    assert supported(device(tensorrt="8.5", onnxruntime="1.20")).name == "onnxruntime"


def test_another_device_is_not_this_machine():
    require_here(load_device("cpu"), where="--target", fix="")
    other = load_device("cpu").model_copy(update={"cpu": CpuFacts(model="Cortex-A76", cores=4)})
    with pytest.raises(DeviceError, match="cpu is not this machine"):
        require_here(other, where="bundle.json", fix="")
    with pytest.raises(DeviceError, match="--target: board is not this machine\n  fix: go there"):
        require_here(device(onnxruntime=None), where="--target", fix="go there")
