from __future__ import annotations

import json

import pytest

from edgeattn.cli.main import run
from edgeattn.devices import DeviceProfile, load_device


def test_the_list_has_every_profile_with_its_description(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["devices"]) == 0

    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert any(line.startswith("cpu This machine's processor, probed") for line in lines)
    assert "jetson-orin-nx-16gb Jetson Orin NX 16 GB." in lines


def test_show_says_what_the_machine_can_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["devices", "show", "cpu"]) == 0

    out = capsys.readouterr().out
    assert "onnxruntime >=1.20, opset 17 to 21: fp32, int8-dynamic" in out
    profile = load_device("cpu")
    assert profile.cpu is not None
    assert " ".join(profile.cpu.instruction_sets) in out
    assert "[microsoft/onnxruntime#24112]" in out


def test_json_is_one_document_that_a_profile_is_read_from(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["devices", "--json"]) == 0
    assert "cpu" in [row["name"] for row in json.loads(capsys.readouterr().out)]

    assert run(["devices", "show", "cpu", "--json"]) == 0
    assert DeviceProfile.model_validate_json(capsys.readouterr().out).name == "cpu"


def test_an_unknown_device_exits_with_2_and_the_nearest_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["devices", "show", "cpuu"]) == 2

    assert "error: unknown device 'cpuu'\n  fix: did you mean 'cpu'?" in capsys.readouterr().err
