"""A bundle for any Jetson, built over SSH on a "device" whose files are those of a board.

The board's files are named by EDGEATTN_ROOT, which the device's SSH server sets for its sessions.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tiny_bundle
from ssh_device import Device

from edgeattn.bundle import Bundle
from edgeattn.cli.main import run
from edgeattn.devices import load_device
from edgeattn.hosts import open_host
from edgeattn.target import resolve

TREES = Path(__file__).parents[1] / "devices/trees"


@pytest.fixture
def as_board(device: Device) -> Iterator[Callable[[Path], None]]:
    """Lets the host "board" have the files of a tree."""

    def restart(tree: Path | None) -> None:
        device.stop()
        device.environment.pop("EDGEATTN_ROOT", None)
        if tree is not None:
            device.environment["EDGEATTN_ROOT"] = str(tree)
        device.start()

    yield restart
    restart(None)


@pytest.fixture
def unbuilt(tmp_path: Path) -> Bundle:
    target = load_device("jetson").model_dump(mode="json")
    return tiny_bundle.make(tmp_path / "unbuilt", candidates={"fp32": tiny_bundle.graph()}, target=target)


def test_a_jetson_bundle_is_built_on_an_orin_that_has_onnxruntime_only(as_board, unbuilt, capsys):
    as_board(TREES / "orin-nano-8gb")

    assert run(["build", str(unbuilt.path), "--host", "board", "--json"]) == 0

    done = capsys.readouterr()
    document = json.loads(done.out)
    assert list(document["runtimes"]) == ["onnxruntime"]
    assert f"{document['runtimes_left_out']['tensorrt']}: its engines are not tried" in done.err
    assert (
        f"{document['runtimes_left_out']['tensorrt']}: its engines were not tried"
        in (unbuilt.path / "report.html").read_text()
    )
    facts = {key: document["machine"][key] for key in ("module", "l4t", "power_mode", "architecture", "cores")}
    assert facts == {
        "module": "p3767-0005",
        "l4t": "36.4.0",
        "power_mode": "15W",
        "architecture": "aarch64",
        "cores": 6,
    }
    built = Bundle.open(unbuilt.path)
    assert built.manifest.target["name"] == "jetson"
    assert "TensorRT's builder and its engines on a Jetson" in built.manifest.target["not_run"]
    assert run(["verify", str(unbuilt.path), "--host", "board"]) == 0
    assert run(["verify", str(unbuilt.path)]) == 4, "this machine is no Jetson"
    assert "jetson is not this machine: its architecture is" in capsys.readouterr().err


def test_an_orin_reached_by_ssh_is_the_target_jetson_and_its_own(as_board):
    as_board(TREES / "orin-nano-super")

    for name in ("jetson", "jetson-orin-nano-super"):
        target = resolve(name, open_host("board"))
        assert [support.name for support in target.profile.runtimes] == ["onnxruntime"]
        assert target.profile.cpu.cores == 6
        assert {key: target.machine[key] for key in ("module", "power_mode")} == {
            "module": "p3767-0005",
            "power_mode": "25W",
        }


@pytest.mark.parametrize(
    ("tree", "release", "reason"),
    [
        ("xavier-nx", None, "jetson is not this machine: its GPU has compute capability 7.2 here, 8.7 there"),
        (
            "orin-nano-8gb",
            "# R34 (release), REVISION: 1.1, GCID: 1",
            "this machine has L4T 34.1.1, which jetson does not",
        ),
    ],
)
def test_another_board_and_an_unknown_jetpack_are_refused_there(
    as_board, unbuilt, tmp_path, capsys, tree, release, reason
):
    shutil.copytree(TREES / tree, tmp_path / "tree")
    if release:
        (tmp_path / "tree/etc/nv_tegra_release").write_text(release)
    as_board(tmp_path / "tree")
    before = (unbuilt.path / "bundle.json").read_bytes()

    assert run(["build", str(unbuilt.path), "--host", "board"]) == 4

    assert reason in capsys.readouterr().err
    assert (unbuilt.path / "bundle.json").read_bytes() == before
