from __future__ import annotations

from pathlib import Path

import pytest

from edgeattn.devices import DeviceProfile, EnergySource, PowerModel, RuntimeSupport, device_names, load_device
from edgeattn.meters import METERS, WALL_VARIABLE, choose, choose_with_reasons
from tests.meters.powercap import package

MODEL = PowerModel(watts_per_core=10.0, source="a meter at the wall")


def profile(kind: str, power_model: PowerModel | None) -> DeviceProfile:
    return DeviceProfile(
        name="board",
        description="A board.",
        runtimes=(RuntimeSupport(name="onnxruntime", opset=(17, 21), methods=("fp32",)),),
        energy=EnergySource(kind=kind, power_model=power_model),
    )


@pytest.fixture
def sensor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root folder in which sensors are searched; it has none yet."""
    monkeypatch.setenv("EDGEATTN_ROOT", str(tmp_path))
    monkeypatch.delenv(WALL_VARIABLE, raising=False)
    return tmp_path


def test_a_sensor_is_trusted_more_than_an_estimate(sensor: Path) -> None:
    package(sensor, 0, 1000)

    chosen = choose(profile("rapl", MODEL))

    assert chosen is not None
    assert chosen.name == "rapl"


def test_without_a_sensor_the_estimate_is_taken(sensor: Path) -> None:
    chosen = choose(profile("rapl", MODEL))

    assert chosen is not None
    assert chosen.name == "model"


def test_why_the_sensor_is_passed_over_is_told(sensor: Path) -> None:
    choice = choose_with_reasons(profile("rapl", MODEL))

    assert choice.passed_over == {"rapl": "no RAPL package zones (another processor, a virtual machine or a container)"}


@pytest.mark.parametrize("name", device_names())
def test_every_shipped_profile_names_a_meter_and_its_scope(name: str) -> None:
    energy = load_device(name).energy

    assert energy.kind == "none" or energy.kind in METERS
    assert (energy.scope is None) == (energy.kind == "none")


def test_without_either_energy_is_unavailable(sensor: Path) -> None:
    assert choose(profile("rapl", None)) is None


def test_a_device_without_rapl_does_not_get_this_machines(sensor: Path) -> None:
    package(sensor, 0, 1000)

    assert choose(profile("none", None)) is None


@pytest.mark.parametrize("name", list(METERS))
def test_every_meter_says_why_it_is_unavailable_and_then_measures_nothing(name: str, sensor: Path) -> None:
    meter = METERS[name](profile("none", None))

    assert meter.name == name
    assert meter.available()
    with meter.window() as window:
        pass
    assert window.energy is None
    assert window.reason
