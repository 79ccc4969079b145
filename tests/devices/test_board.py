"""The board that a machine is, from its files: as a vendor writes them, and broken in every way."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from pydantic import ValidationError

from edgeattn.devices import BoardFacts, board_facts, machine_here, probe_cpu
from edgeattn.devices.probe import architecture
from edgeattn.errors import InputError
from edgeattn.recognition import device_here
from tests.devices import machines

TREES = Path(__file__).parent / "trees"
BASE = "sys/firmware/devicetree/base"


@pytest.fixture
def nano(tmp_path: Path) -> Path:
    """The files of an Orin Nano, to be changed."""
    shutil.copytree(TREES / "orin-nano-8gb", tmp_path / "nano")
    return tmp_path / "nano"


@pytest.mark.parametrize(
    ("tree", "facts", "name"),
    [
        ("orin-nano-8gb", ("p3767-0005", "8.7", "36.4.0", "15W"), "jetson-orin-nano-8gb"),
        ("orin-nano-super", ("p3767-0005", "8.7", "36.4.3", "25W"), "jetson-orin-nano-super"),
        ("agx-orin-64gb", ("p3701-0005", "8.7", "35.2.1", "MODE_30W"), "jetson-agx-orin-64gb"),
        ("thor", ("p3834-0008", "11.0", "38.2.0", "120W"), "jetson-thor-t5000"),
        ("xavier-nx", ("p3668-0000", "7.2", "35.4.1", "MODE_20W_6CORE"), "jetson-xavier-nx"),
    ],
)
def test_a_jetson_is_recognised_by_its_files(tree: str, facts: tuple[str, ...], name: str) -> None:
    board = board_facts(TREES / tree)

    assert (board.module, board.sm, board.l4t, board.power_mode) == facts
    assert board.power_mode in board.power_modes
    assert board.model is not None
    machine = machine_here(TREES / tree)
    assert (machine.board, machine.architecture) == (board, "aarch64")
    found = device_here(machine)
    assert found is not None
    assert found.name == name
    assert found.cpu is not None
    assert machine.cpu.model == f"{found.cpu.model} ({board.model})"


def test_the_module_tells_boards_apart_and_not_the_cores_that_are_on() -> None:
    """MODE_30W switches 4 of 12 cores off."""
    machine = machine_here(TREES / "agx-orin-64gb")
    found = device_here(machine)

    assert machine.cpu.cores == 8
    assert found is not None
    assert found.cpu is not None
    assert found.cpu.cores == 12


@pytest.mark.parametrize(
    ("compatible", "module"),
    [
        ("nvidia,p3737-0000+p3701-0000\0nvidia,tegra234\0nvidia,tegra23x\0", "p3701-0000"),
        ("vendor,carrier\0nvidia,p3767-0001\0nvidia,tegra234\0", "p3767-0001"),
        ("raspberrypi,5-model-b\0brcm,bcm2712\0", None),
        ("nvidia,p37\0+p3767-0000\0nvidia,p3767-00001\0", None),
        ("", None),
    ],
)
def test_the_module_is_the_second_part_of_the_board_s_name(nano: Path, compatible: str, module: str | None) -> None:
    (nano / BASE / "compatible").write_text(compatible)

    assert board_facts(nano).module == module


def test_a_graphics_card_is_known_by_its_driver(tmp_path: Path) -> None:
    text = "Model: \t\t NVIDIA GB10\nIRQ:   \t\t 200\nGPU UUID: \t GPU-1\n"
    machines.write(tmp_path, {"proc/driver/nvidia/gpus/0000:01:00.0/information": text})

    assert board_facts(tmp_path) == BoardFacts(gpus=("NVIDIA GB10",), sm="12.1")


def test_a_power_mode_is_known_by_its_name_and_not_by_its_number(nano: Path) -> None:
    (nano / "etc/nvpmodel.conf").write_text("< POWER_MODEL ID=0 NAME=MAXN >\n<POWER_MODEL ID=5 NAME=15W>\n")
    (nano / "var/lib/nvpmodel/status").write_text("pmode:0005 fmode:quiet\n")

    board = board_facts(nano)
    assert (board.power_mode, board.power_modes) == ("15W", ("MAXN", "15W"))
    (nano / "var/lib/nvpmodel/status").write_text("pmode:0007\n")
    assert board_facts(nano).power_mode is None


def test_absolute_links_are_followed_below_the_root(nano: Path) -> None:
    """As L4T makes them: /etc/nvpmodel.conf and /proc/device-tree."""
    (nano / "etc/nvpmodel").mkdir()
    (nano / "etc/nvpmodel.conf").rename(nano / "etc/nvpmodel/nvpmodel_p3767_0003.conf")
    (nano / "etc/nvpmodel.conf").symlink_to("/etc/nvpmodel/nvpmodel_p3767_0003.conf")
    (nano / "proc/device-tree").symlink_to("/sys/firmware/devicetree/base")

    assert board_facts(nano) == board_facts(TREES / "orin-nano-8gb")


@pytest.mark.parametrize(
    ("file", "content", "unknown"),
    [
        ("etc/nvpmodel.conf", b"", {"power_mode": None, "power_modes": ()}),
        ("etc/nvpmodel.conf", bytes(range(256)) * 16, {"power_mode": None, "power_modes": ()}),
        ("etc/nvpmodel.conf", b"< POWER_MODEL ID=0 NAME=\x1b[2J >\n", {"power_mode": None, "power_modes": ()}),
        (
            "etc/nvpmodel.conf",
            b"< POWER_MODEL ID=99999999999999999999 NAME=15W >\n",
            {"power_mode": None, "power_modes": ()},
        ),
        ("etc/nvpmodel.conf", b"#" * (64 * 2**20), {"power_mode": None, "power_modes": ()}),
        ("var/lib/nvpmodel/status", b"", {"power_mode": None}),
        ("var/lib/nvpmodel/status", b"\xff\xfe\x00", {"power_mode": None}),
        ("var/lib/nvpmodel/status", b"pmode:99999999", {"power_mode": None}),
        ("etc/nv_tegra_release", b"", {"l4t": None}),
        ("etc/nv_tegra_release", b"# R36 (release), REVISION: \x1b[31m, GCID", {"l4t": None}),
        ("etc/nv_tegra_release", b"# R9999 (release), REVISION: 1.1, GCID", {"l4t": None}),
        ("etc/nv_tegra_release", bytes(2**20), {"l4t": None}),
        (f"{BASE}/model", b"", {"model": None}),
        (f"{BASE}/model", b"\xff\xfe\xfd", {"model": None}),
        (f"{BASE}/model", b"\x1b]0;owned\x07\x1b[2J\x9b1mOrin\r\n\0", {"model": "1mOrin"}),
        (f"{BASE}/model", b"x" * 100_000, {"model": "x" * 120}),
        (f"{BASE}/compatible", bytes(range(256)) * 16, {"module": None, "sm": None}),
        (f"{BASE}/compatible", None, {"module": None, "sm": None}),
        (f"{BASE}/model", None, {"model": None}),
        ("etc/nv_tegra_release", None, {"l4t": None}),
        ("etc/nvpmodel.conf", None, {"power_mode": None, "power_modes": ()}),
        ("var/lib/nvpmodel/status", None, {"power_mode": None}),
    ],
)
def test_a_malformed_or_missing_file_is_unknown(
    nano: Path, file: str, content: bytes | None, unknown: dict[str, object]
) -> None:
    """None is a missing file. The other facts stay."""
    whole = board_facts(nano)
    (nano / file).unlink()
    if content is not None:
        (nano / file).write_bytes(content)

    assert board_facts(nano) == whole.model_copy(update=unknown)
    assert BoardFacts.model_validate_json(board_facts(nano).model_dump_json()) == board_facts(nano)
    assert "\x1b" not in str(probe_cpu(nano).model)


def test_folders_and_pipes_in_the_place_of_files_are_unknown(nano: Path) -> None:
    for file in ("etc/nvpmodel.conf", "etc/nv_tegra_release", f"{BASE}/model", "proc/cpuinfo"):
        (nano / file).unlink()
    (nano / "etc/nvpmodel.conf").mkdir()
    os.mkfifo(nano / "etc/nv_tegra_release")
    (nano / BASE / "model").symlink_to("model")
    os.mkfifo(nano / "proc/cpuinfo")

    board = board_facts(nano)
    assert (board.power_modes, board.l4t, board.model) == ((), None, None)
    assert probe_cpu(nano).model is None


def test_an_empty_tree_is_a_machine_of_which_nothing_is_known(tmp_path: Path) -> None:
    machine = machine_here(tmp_path)

    assert (machine.board, machine.architecture) == (BoardFacts(), None)
    assert device_here(machine) is None


def test_the_variable_names_another_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGEATTN_ROOT", str(TREES / "thor"))
    assert machine_here() == machine_here(TREES / "thor")
    monkeypatch.setenv("EDGEATTN_ROOT", str(tmp_path / "missing"))
    with pytest.raises(
        InputError, match=r"EDGEATTN_ROOT: '.*missing' is not a folder\n  fix: give the folder that has"
    ):
        machine_here()
    monkeypatch.setenv("EDGEATTN_ROOT", "")
    assert machine_here() == machine_here(Path("/"))


def test_the_architecture_is_the_kernel_s_or_the_processor_s(tmp_path: Path) -> None:
    assert architecture(machines.vnni_server(tmp_path / "server")) == "x86_64"
    assert architecture(machines.raspberry_pi_5(tmp_path / "pi")) == "aarch64"
    assert architecture(machines.write(tmp_path / "new", {"proc/sys/kernel/arch": "riscv64\n"})) == "riscv64"


@pytest.mark.parametrize(
    "reply",
    [
        '{"l4t": "36.4.3\\u001b[2J"}',
        '{"module": "p3767-0003; reboot"}',
        '{"power_mode": "\\u001b[31m15W"}',
        '{"power_modes": ["15W", "../x y"]}',
        '{"sm": "8.70"}',
        '{"gpus": ["' + "x" * 121 + '"]}',
        '{"model": "' + "x" * 121 + '"}',
        '{"temperature": 40}',
    ],
)
def test_a_reply_that_no_board_gives_is_refused(reply: str) -> None:
    with pytest.raises(ValidationError):
        BoardFacts.model_validate_json(reply)


def test_machines_that_are_no_jetson_are_recognised_by_their_processor(tmp_path: Path) -> None:
    found = [
        device_here(machine_here(make(tmp_path / str(number))))
        for number, make in enumerate((machines.raspberry_pi_5, machines.vnni_server))
    ]

    assert [each and each.name for each in found] == ["raspberry-pi-5", "x86-avx512vnni"]
