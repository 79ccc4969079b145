"""What a recipe is compiled for, and whether a machine is it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from edgeattn.devices import CpuFacts, DeviceProfile, RuntimeSupport, load_device, probe_cpu
from edgeattn.errors import DeviceError, InputError
from edgeattn.hosts import open_host
from edgeattn.target import default_host, difference, installed_here, resolve, usable_runtimes

PI = CpuFacts(model="Cortex-A76", cores=4, threads=4, instruction_sets=("neon", "asimddp"))

BOARD = """\
schema: 1
description: A board of the tests.
cpu: {model: Cortex-A76, cores: 4}
runtimes:
  - {name: onnxruntime, opset: [17, 21], methods: [fp32, int8-dynamic]}
"""


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


def test_this_machine_is_the_default_host_of_cpu_and_of_no_other_board(tmp_path):
    (tmp_path / "board.yaml").write_text(BOARD)
    assert default_host("cpu") == "local"
    assert default_host(str(tmp_path / "board.yaml")) == "none"


def test_a_target_without_a_host_has_all_runtimes_and_an_unknown_processor():
    target = resolve("cpu", None)
    assert (target.host, target.machine, target.profile.cpu) == (None, {}, None)
    assert [support.name for support in target.profile.runtimes] == [
        support.name for support in load_device("cpu").runtimes
    ]


def test_this_machine_as_a_target_has_what_is_installed():
    target = resolve("cpu", open_host(None))
    assert target.profile.cpu == probe_cpu()
    assert {support.name for support in target.profile.runtimes} <= {
        name for name, version in installed_here().items() if version
    }


def test_another_machine_s_processor_and_runtimes_are_asked_of_its_host():
    profile = load_device("cpu").model_copy(update={"cpu": PI, "memory_bytes": 8 * 2**30})
    facts = SimpleNamespace(profile=profile, runtimes={"onnxruntime": "1.22.0"}, fingerprint={"cpu_model": "pi"})
    target = resolve("cpu", SimpleNamespace(name="pi", probe=lambda: facts))
    assert (target.profile.cpu, target.profile.memory_bytes, target.machine) == (PI, 8 * 2**30, {"cpu_model": "pi"})
    assert [support.name for support in target.profile.runtimes] == ["onnxruntime"]


def test_a_host_that_is_not_the_board_is_refused(tmp_path):
    (tmp_path / "board.yaml").write_text(BOARD)
    with pytest.raises(DeviceError, match=r"--host: local is not board: its processor is .* here, Cortex-A76 there"):
        resolve(str(tmp_path / "board.yaml"), open_host("local"))


def test_a_mistake_in_a_board_s_file_is_said_with_file_and_line(tmp_path):
    file = tmp_path / "board.yaml"
    file.write_text(BOARD.replace("description", "descripton"))
    with pytest.raises(InputError, match=rf"{file}:2: descripton: unknown key") as caught:
        resolve(str(file), None)
    assert "did you mean 'description'?" in str(caught.value)
    with pytest.raises(InputError, match=r"missing\.yaml"):
        resolve(str(tmp_path / "missing.yaml"), None)
    (tmp_path / "My Board.yaml").write_text(BOARD)
    with pytest.raises(InputError, match="'My Board' is not the name of a device"):
        resolve(str(tmp_path / "My Board.yaml"), None)


def test_a_board_s_file_may_extend_a_device(tmp_path):
    (tmp_path / "mine.yaml").write_text("schema: 1\nextends: cpu\ndescription: My board.\n")
    target = resolve(str(tmp_path / "mine.yaml"), open_host("local"))
    assert (target.profile.name, target.profile.description) == ("mine", "My board.")
    assert target.profile.cpu == probe_cpu()
