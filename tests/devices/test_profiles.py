from __future__ import annotations

from pathlib import Path

import pytest

from edgeattn.devices import DeviceProfile, PowerModel, device_names, load_device
from edgeattn.errors import InputError
from tests.devices import machines

BASE = """\
schema: 1
description: A board.
runtimes:
  - name: onnxruntime
    min_version: "1.20"
    opset: [17, 21]
    methods: [fp32]
memory_bytes: 1000
energy:
  kind: rapl
notes:
  - text: It is green.
    source: seen
"""


def _device(folder: Path, name: str, text: str) -> None:
    (folder / f"{name}.yaml").write_text(text)


def test_cpu_is_the_machine_that_reads_it(tmp_path: Path) -> None:
    profile = load_device("cpu", root=machines.raspberry_pi_5(tmp_path))

    assert profile.name == "cpu"
    assert profile.cpu is not None
    assert profile.cpu.model == "Cortex-A76 (Raspberry Pi 5 Model B Rev 1.0)"
    assert profile.memory_bytes == 8249312 * 1024
    assert [runtime.name for runtime in profile.runtimes] == ["onnxruntime", "openvino"]
    assert all(note.source for note in profile.notes)


def test_the_power_model_is_chosen_by_what_the_processor_can_do(tmp_path: Path) -> None:
    pi = load_device("cpu", root=machines.raspberry_pi_5(tmp_path / "pi")).energy.power_model
    x86 = load_device("cpu", root=machines.vnni_server(tmp_path / "x86")).energy.power_model

    assert isinstance(pi, PowerModel)
    assert pi.watts_per_core == pytest.approx(12.7 / 4)
    assert isinstance(x86, PowerModel)
    assert x86.watts_per_core == pytest.approx(41 / 4)
    assert load_device("cpu", root=tmp_path / "unknown").energy.power_model is None


@pytest.mark.parametrize("name", device_names())
def test_every_shipped_profile_survives_json(name: str) -> None:
    profile = load_device(name)

    assert DeviceProfile.model_validate_json(profile.model_dump_json()) == profile


def test_a_wrong_name_gets_the_nearest() -> None:
    with pytest.raises(InputError, match="unknown device 'cpuu'\n  fix: did you mean 'cpu'") as caught:
        load_device("cpuu")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", ["../cpu", "/etc/passwd", "-oProxyCommand=x"])
def test_a_name_never_leads_out_of_the_folder(name: str) -> None:
    with pytest.raises(InputError, match="unknown device"):
        load_device(name)


def test_extends_lays_a_device_over_another(tmp_path: Path) -> None:
    _device(tmp_path, "board", BASE)
    _device(tmp_path, "big-board", "extends: board\nmemory_bytes: 2000\nenergy: {power_models: []}\nnotes: []\n")

    profile = load_device("big-board", folder=tmp_path)

    assert profile.name == "big-board"
    assert profile.description == "A board."
    assert profile.memory_bytes == 2000
    assert profile.energy.kind == "rapl"
    assert profile.notes == ()


def test_what_a_device_inherits_it_can_add_to_change_and_take_away(tmp_path: Path) -> None:
    software = "software:\n  A: {tensorrt: '8.5', opset: [9, 17]}\n  B: {tensorrt: '10.3', opset: [9, 20]}\n"
    modes = "power_modes: {big: {watts: 30, multiprocessors: 8, gpu_mhz: 1000}, low: {watts: 10}}\n"
    gpu = "gpu: {sm: '8.7', multiprocessors: 4, max_mhz: 500, ops_per_clock: {int8: 4096}}\n"
    _device(tmp_path, "board", BASE + software + modes + gpu)
    over = "software: {A: null, C: {tensorrt: '9.0', opset: [9, 19]}}\ngpu: {multiprocessors: 8}\n"
    _device(tmp_path, "over", f"extends: board\n{over}notes: [{{text: It is fast., source: seen}}]\n")

    profile = load_device("over", folder=tmp_path)

    assert [release.name for release in profile.software] == ["C", "B"], "the oldest first"
    assert [note.text for note in profile.notes] == ["It is fast.", "It is green."]
    assert [mode.name for mode in profile.power_modes] == ["low", "big"]
    assert profile.peaks.int8 == 4096 * 8 * 500 / 1e6
    assert [mode.peaks.int8 for mode in profile.power_modes] == [None, 32.768]


@pytest.mark.parametrize("name", device_names())
def test_every_shipped_profile_says_where_its_facts_are_from(name: str) -> None:
    profile = load_device(name)

    assert profile.notes
    assert all(note.source for note in profile.notes)
    assert all(release.source for release in profile.software)
    assert len([mode for mode in profile.power_modes if mode.default]) <= 1
    if name != "cpu" and not name.startswith(("x86-avx", "arm64")):
        assert profile.not_run, "its developers have not run it there"


def test_extends_in_a_circle_is_refused(tmp_path: Path) -> None:
    _device(tmp_path, "a", "extends: b\n")
    _device(tmp_path, "b", "extends: a\n")

    with pytest.raises(InputError, match=r"b\.yaml: extends goes round in a circle: a -> b -> a"):
        load_device("a", folder=tmp_path)


def test_extends_of_an_unknown_device_says_where(tmp_path: Path) -> None:
    _device(tmp_path, "board", BASE)
    _device(tmp_path, "other", "extends: bord\n")

    with pytest.raises(InputError, match=r"other\.yaml: unknown device 'bord'\n  fix: did you mean 'board'"):
        load_device("other", folder=tmp_path)


def test_a_mistake_is_placed_in_the_file_that_makes_it(tmp_path: Path) -> None:
    _device(tmp_path, "board", BASE.replace("opset: [17, 21]", "opset: [21, 17]"))
    _device(tmp_path, "over", "extends: board\nmemory_bytes: lots\n")

    with pytest.raises(InputError) as caught:
        load_device("over", folder=tmp_path)

    assert "over.yaml:2: memory_bytes: a whole number is expected" in str(caught.value)
    assert "board.yaml:6: runtimes[0].opset: the lowest, 21, is above the highest, 17" in str(caught.value)


def test_an_unknown_key_gets_the_nearest(tmp_path: Path) -> None:
    _device(tmp_path, "board", BASE.replace("methods:", "method:"))

    with pytest.raises(InputError) as caught:
        load_device("board", folder=tmp_path)

    assert "board.yaml:7: runtimes[0].method: unknown key" in str(caught.value)
    assert "fix: did you mean 'methods'?" in str(caught.value)


def test_a_newer_schema_names_both_versions(tmp_path: Path) -> None:
    _device(tmp_path, "board", BASE.replace("schema: 1", "schema: 2"))

    with pytest.raises(InputError, match=r"board\.yaml:1: schema 2 is newer than 1"):
        load_device("board", folder=tmp_path)
