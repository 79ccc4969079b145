"""INA3221 and INA238 on the file trees of boards."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from edgeattn.devices import load_device
from edgeattn.meters import METERS, choose, choose_with_reasons
from edgeattn.meters.base import Energy
from edgeattn.meters.hwmon import RailMeter
from tests.meters.boards import TREES, board, chip, write


def _meter(device: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> RailMeter:
    monkeypatch.setenv("EDGEATTN_ROOT", str(root))
    profile = load_device(device)
    meter = METERS[profile.energy.kind](profile)
    assert isinstance(meter, RailMeter)
    meter.poll_s = 0.005
    return meter


def _energy(meter: RailMeter) -> Energy:
    with meter.window() as window:
        time.sleep(0.05)
    assert window.energy is not None, window.reason
    return window.energy


@pytest.mark.parametrize(
    ("tree", "device", "watts", "scope", "source"),
    [
        ("orin-nano-8gb", "jetson-orin-nano-8gb", None, "module", "INA3221: VDD_IN"),
        ("orin-nano-super", "jetson-orin-nano-super", 4.968 * 1.04, "module", "INA3221: VDD_IN"),
        (
            "agx-orin-64gb",
            "jetson-agx-orin-64gb",
            19.896 * 0.16 + 19.888 * 0.04 + 4.976 * 0.64,
            "partial",
            "INA3221: VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0",
        ),
        ("xavier-nx", "jetson-xavier-nx", None, "module", "INA3221: VDD_IN"),
        ("thor", "jetson-thor-t5000", 27.41472, "module", "INA238: VIN"),
    ],
)
def test_the_total_of_a_board(
    tree: str, device: str, watts: float | None, scope: str, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    energy = _energy(_meter(device, TREES / tree, monkeypatch))

    assert (energy.scope, energy.source) == (scope, source)
    assert energy.watts > 1
    if watts is not None:
        assert energy.watts == pytest.approx(watts)


def test_a_jetson_is_measured_by_its_own_sensor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEATTN_ROOT", str(TREES / "thor"))
    chosen = choose(load_device("jetson-thor-t5000"))

    assert chosen is not None
    assert chosen.name == "ina238"


def test_the_number_of_a_hwmon_folder_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = board("orin-nano-super", tmp_path)
    folder = chip(root, "1-0040")
    folder = folder.rename(folder.with_name("hwmon17"))
    listed = root / "sys/class/hwmon"
    listed.mkdir(parents=True)
    (listed / "hwmon17").symlink_to(folder)  # the kernel lists every sensor here too
    write(folder / "in1_input", 5000)
    write(folder / "curr1_input", 2000)

    assert _energy(_meter("jetson-orin-nano-super", root, monkeypatch)).watts == pytest.approx(10.0)


def test_a_slow_conversion_is_the_period(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = board("orin-nano-super", tmp_path)
    (chip(root, "1-0040") / "update_interval").write_text("280\n")
    meter = _meter("jetson-orin-nano-super", root, monkeypatch)

    assert meter.available() is None
    assert meter.period_s == 0.28


def test_a_changed_board_says_which_rails_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = board("orin-nano-super", tmp_path)
    write(chip(root, "1-0040") / "in1_label", "NC")
    monkeypatch.setenv("EDGEATTN_ROOT", str(root))

    choice = choose_with_reasons(load_device("jetson-orin-nano-super"))

    assert choice.meter is None
    assert choice.passed_over["ina3221"] == "no rail VDD_IN on the INA3221; it has VDD_CPU_GPU_CV, VDD_SOC"


def test_two_rails_of_one_name_are_not_guessed_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = board("agx-orin-64gb", tmp_path)
    write(chip(root, "1-0041") / "in1_label", "VDD_CPU_CV")

    assert _meter("jetson-agx-orin-64gb", root, monkeypatch).available() == "two rails are called VDD_CPU_CV"


def test_without_the_driver_the_remedy_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reason = _meter("jetson-orin-nano-8gb", tmp_path, monkeypatch).available()

    assert reason is not None
    assert "no INA3221 in /sys/class/hwmon: its driver is not loaded (sudo modprobe ina3221)" in reason
    assert "EDGEATTN_ROOT" in reason


def test_a_closed_file_says_how_to_open_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = board("orin-nano-super", tmp_path)
    meter = _meter("jetson-orin-nano-super", root, monkeypatch)
    open_file = Path.open

    def closed(path: Path, *args: str, **kwargs: str) -> object:
        if path.name == "curr1_input":
            raise PermissionError(13, "Permission denied")
        return open_file(path, *args, **kwargs)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", closed)
    reason = meter.available()

    assert reason is not None
    assert reason.startswith("curr1_input cannot be read: sudo chmod a+r ")


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("curr1_input", 0, "the sensor reads 0 W"),
        ("curr1_input", -65528, "VDD_IN reads 4968 mV and -65528 mA"),
        ("in1_input", "", "in1_input is '', not a number"),
        ("curr1_input", 10**9, "the sensor reads 4.968e+06 W"),
        (None, None, "curr1_input cannot be read: No such file or directory"),
    ],
)
def test_a_rail_that_fails_in_the_window(
    name: str | None, value: int | str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = board("orin-nano-super", tmp_path)
    folder = chip(root, "1-0040")
    meter = _meter("jetson-orin-nano-super", root, monkeypatch)

    with meter.window() as window:
        if name is None:
            (folder / "curr1_input").unlink()
        else:
            write(folder / name, value)

    assert window.energy is None
    assert window.reason == reason
