"""Whether a machine is the device of a profile, and which of its runtimes can be used there."""

from __future__ import annotations

import pytest

from edgeattn.devices import CpuFacts, DeviceProfile, RuntimeSupport
from edgeattn.errors import DeviceError
from edgeattn.recognition import difference, usable_runtimes

PI = CpuFacts(model="Cortex-A76", cores=4, threads=4, instruction_sets=("neon", "asimddp"))


def device(probe=False, cpu=None, **versions: str | None) -> DeviceProfile:
    """A device with these runtimes: name -> min_version."""
    runtimes = tuple(
        RuntimeSupport(name=name, min_version=version, opset=(17, 21), methods=("fp32",))
        for name, version in (versions or {"onnxruntime": None}).items()
    )
    return DeviceProfile(name="board", description="A board.", runtimes=runtimes, probe=probe, cpu=cpu)


@pytest.mark.parametrize("version", ["1.20.0", "1.20", "1.32.0", "1.23.0+cu126", "1.100.1"])
def test_a_runtime_of_the_least_version_or_later_is_used(version):
    usable = usable_runtimes(device(onnxruntime="1.20"), {"onnxruntime": version})
    assert [support.name for support in usable] == ["onnxruntime"]


def test_an_older_runtime_is_refused_with_both_versions():
    with pytest.raises(
        DeviceError, match=r"no runtime for board: onnxruntime 1\.9\.2 is installed, 1\.20 or later is needed\n  fix:"
    ) as caught:
        usable_runtimes(device(onnxruntime="1.20"), {"onnxruntime": "1.9.2"})
    assert caught.value.exit_code == 4


def test_a_missing_and_an_unknown_runtime_are_both_named():
    with pytest.raises(DeviceError, match="this edgeattn has no runtime npu; onnxruntime is not installed"):
        usable_runtimes(device(npu="8.5", onnxruntime=None), {})


def test_all_usable_runtimes_are_kept_in_the_profile_s_order():
    installed = {"onnxruntime": "1.32.0", "openvino": "2026.4"}
    usable = usable_runtimes(device(npu="8.5", openvino="2025.0", onnxruntime="1.20"), installed)
    assert [support.name for support in usable] == ["openvino", "onnxruntime"]


@pytest.mark.parametrize(
    ("profile", "reason"),
    [
        (device(probe=True), None),
        (device(cpu=PI), None),
        (device(cpu=CpuFacts(model="Cortex-A76")), None),
        (device(), "the profile states nothing of its processor to recognise it by"),
        (device(cpu=CpuFacts(model="Cortex-A72")), "its processor is Cortex-A76 here, Cortex-A72 there"),
        (device(cpu=CpuFacts(model="Cortex-A76", cores=8)), "its cores are 4 here, 8 there"),
        (device(cpu=CpuFacts(instruction_sets=("neon", "sve", "i8mm"))), "its processor lacks i8mm, sve"),
    ],
)
def test_a_board_is_recognised_by_what_its_profile_states(profile, reason):
    assert difference(profile, PI) == reason
