"""What a recipe is compiled for, and whether a machine is it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from edgeattn.devices import BoardFacts, CpuFacts, load_device, probe_cpu
from edgeattn.errors import DeviceError, InputError
from edgeattn.hosts import open_host
from edgeattn.recognition import installed_here
from edgeattn.target import default_host, resolve

PI = CpuFacts(model="Cortex-A76", cores=4, threads=4, instruction_sets=("neon", "asimddp"))

BOARD = """\
schema: 1
description: A board of the tests.
cpu: {model: Cortex-A76, cores: 4}
runtimes:
  - {name: onnxruntime, opset: [17, 21], methods: [fp32, int8-dynamic]}
"""


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
    target = resolve("cpu", host(profile, BoardFacts(), {"cpu_model": "pi"}))
    assert (target.profile.cpu, target.profile.memory_bytes, target.machine) == (PI, 8 * 2**30, {"cpu_model": "pi"})
    assert [support.name for support in target.profile.runtimes] == ["onnxruntime"]


def host(profile, board, fingerprint=None, architecture="aarch64"):
    """A host "pi" that has ONNX Runtime."""
    facts = SimpleNamespace(
        profile=profile,
        runtimes={"onnxruntime": "1.22.0"},
        fingerprint=fingerprint or {},
        board=board,
        architecture=architecture,
    )
    return SimpleNamespace(name="pi", probe=lambda: facts)


ORIN = CpuFacts(
    model="Cortex-A78AE (NVIDIA Jetson)", cores=6, max_mhz=1510, instruction_sets=("neon", "asimdhp", "asimddp", "sve")
)


def test_any_orin_is_a_jetson_with_the_runtimes_that_it_has():
    found = load_device("cpu").model_copy(update={"cpu": ORIN, "memory_bytes": 8 * 2**30})
    target = resolve("jetson", host(found, BoardFacts(module="p3701-0008", sm="8.7", l4t="36.4.3")))
    assert [support.name for support in target.profile.runtimes] == ["onnxruntime"]
    assert target.profile.memory_bytes == 4 * 2**30, "as the profile states it"
    assert (target.profile.cpu.cores, target.profile.cpu.max_mhz) == (6, 1510), "as the host says it"
    assert target.profile.cpu.instruction_sets == ("neon", "asimdhp", "asimddp"), "as the profile states it"
    with pytest.raises(DeviceError, match=r"pi has L4T 32\.7\.1, which jetson does not know; it knows 35\.2 to 35\.6"):
        resolve("jetson", host(found, BoardFacts(sm="8.7", l4t="32.7.1")))
    with pytest.raises(DeviceError, match=r"--host: pi is not jetson: it has no NVIDIA GPU"):
        resolve("jetson", host(found, BoardFacts()))


def test_memory_that_a_profile_leaves_open_is_the_host_s():
    found = load_device("cpu").model_copy(update={"cpu": load_device("raspberry-pi-5").cpu, "memory_bytes": 8 * 2**30})
    assert resolve("raspberry-pi-5", host(found, BoardFacts())).profile.memory_bytes == 8 * 2**30


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
