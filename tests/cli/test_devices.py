from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeattn.cli.main import run
from edgeattn.devices import DeviceProfile, device_names, load_device

TREES = Path(__file__).parents[1] / "devices/trees"


def test_the_list_has_every_profile_with_its_description(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["devices"]) == 0

    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert any(line.startswith("cpu This machine's processor, probed") for line in lines)
    assert "jetson-orin-nx-16gb Jetson Orin NX 16 GB." in lines


def test_show_says_what_the_machine_can_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["devices", "show", "cpu"]) == 0

    out = capsys.readouterr().out
    assert "onnxruntime >=1.20, opset 17 to 21: fp32, int8-weights, int8-dynamic" in out
    profile = load_device("cpu")
    assert profile.cpu is not None
    assert " ".join(profile.cpu.instruction_sets) in out
    assert "[microsoft/onnxruntime#24112]" in out


def test_json_is_one_document_that_a_profile_is_read_from(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["devices", "--json"]) == 0
    assert "cpu" in [row["name"] for row in json.loads(capsys.readouterr().out)]

    assert run(["devices", "show", "cpu", "--json"]) == 0
    assert DeviceProfile.model_validate_json(capsys.readouterr().out).name == "cpu"


def test_the_list_says_which_device_this_machine_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEATTN_ROOT", str(TREES / "orin-nano-super"))

    assert run(["devices"]) == 0
    said = capsys.readouterr().out.partition("this machine\n")[2].splitlines()
    assert [" ".join(line.split()) for line in said] == [
        "device jetson-orin-nano-super: Jetson Orin Nano 8 GB with the Super power modes of JetPack 6.1 or later.",
        "board NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super, module p3767-0005",
        "L4T 36.4.3 (JetPack 6.1 to 6.2.2)",
        "TensorRT not found by this Python: make its environment with --system-site-packages",
        "power mode 25W, of 15W, 25W, MAXN_SUPER",
        "GPU compute capability 8.7",
    ]
    assert run(["devices", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows if row["here"]] == ["cpu", "jetson-orin-nano-super"]


def test_a_machine_that_is_no_device_of_its_own_is_cpu(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEATTN_ROOT", str(tmp_path))

    assert run(["devices"]) == 0
    assert "cpu, as any machine" in capsys.readouterr().out


def test_show_says_what_the_profile_of_a_jetson_knows_and_from_where(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["devices", "show", "jetson-agx-orin-64gb"]) == 0

    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "module p3701-0005 or p3701-0000" in lines
    assert "gpu compute capability 8.7, 16 multiprocessors, up to 1300 MHz" in lines
    assert "dense peaks fp32 5.32, fp16 42.6, int8 85.2 x 10^12 operations a second" in lines
    assert any(line.startswith("energy ina3221, total VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0, scope partial")
               for line in lines)  # fmt: skip
    assert any(line.startswith("MODE_30W (default) 30 W 8 SM at 612 MHz 8 cores at 1728 MHz 204.8 GB/s")
               for line in lines)  # fmt: skip
    assert any(line.startswith("JetPack 6.0 36.3 8.6.2 12.2 3.10 9 to 17 tensorrt OE4T") for line in lines)
    assert "- TensorRT's builder and its engines on a Jetson" in lines
    assert any(line.endswith("[ARK-Electronics/ark_jetson_kernel docs/power.md]") for line in lines)


@pytest.mark.parametrize("name", device_names())
def test_every_profile_can_be_shown(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["devices", "show", name]) == 0
    assert f"description       {load_device(name).description}" in capsys.readouterr().out


def test_an_unknown_device_exits_with_2_and_the_nearest_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["devices", "show", "cpuu"]) == 2

    assert "error: unknown device 'cpuu'\n  fix: did you mean 'cpu'?" in capsys.readouterr().err
