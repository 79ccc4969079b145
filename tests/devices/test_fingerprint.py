from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from edgeattn.devices import fingerprint
from edgeattn.runtimes import RUNTIMES
from tests.devices import machines

GOVERNOR = "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"


def test_it_says_what_a_measurement_depends_on(tmp_path: Path) -> None:
    found = fingerprint(machines.raspberry_pi_5(tmp_path))

    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["cpu_model"] == "Cortex-A76 (Raspberry Pi 5 Model B Rev 1.0)"
    assert "asimddp" in found["instruction_sets"]
    assert found["memory_gib"] == 7.9
    assert found["power"]["governor"] == "ondemand"
    assert found["power"]["nvpmodel"] is None
    assert found["runtimes"] == {name: RUNTIMES[name].version() for name in RUNTIMES}


def test_a_jetson_s_has_module_l4t_and_the_name_of_the_power_mode(tmp_path: Path) -> None:
    nano = Path(__file__).parent / "trees/orin-nano-super"
    found = fingerprint(nano)
    assert {key: found[key] for key in ("module", "sm", "l4t", "power_mode", "architecture")} == {
        "module": "p3767-0005",
        "sm": "8.7",
        "l4t": "36.4.3",
        "power_mode": "25W",
        "architecture": "aarch64",
    }
    shutil.copytree(nano, tmp_path / "nano")
    machines.write(tmp_path / "nano", {"var/lib/nvpmodel/status": "pmode:0002 fmode:quiet"})
    assert fingerprint(tmp_path / "nano") == {
        **found,
        "power_mode": "MAXN_SUPER",
        "power": {**found["power"], "nvpmodel": "pmode:0002 fmode:quiet"},
    }


@pytest.mark.parametrize(
    ("file", "text"),
    [
        (GOVERNOR, "performance\n"),
        ("var/lib/nvpmodel/status", "pmode:0002\n"),
        ("sys/devices/system/cpu/cpufreq/boost", "0\n"),
        ("proc/meminfo", "MemTotal:        4249312 kB\n"),
        ("sys/fs/cgroup/user.slice/cpu.max", "50000 100000\n"),
        ("proc/device-tree/model", "Raspberry Pi 500 Rev 1.0\0"),
    ],
)
def test_another_machine_or_another_setting_has_another(tmp_path: Path, file: str, text: str) -> None:
    root = machines.raspberry_pi_5(tmp_path)
    before = fingerprint(root)
    machines.write(root, {file: text})

    assert fingerprint(root) != before


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("proc/loadavg", "7.52 3.58 1.59 5/234 9678\n"),
        ("proc/meminfo", "MemTotal:        8249312 kB\nMemAvailable:    1654321 kB\n"),
        ("proc/sys/kernel/osrelease", "6.12.34+rpt-rpi-2712\n"),
    ],
)
def test_it_is_the_same_from_run_to_run(tmp_path: Path, file: str, text: str) -> None:
    root = machines.raspberry_pi_5(tmp_path)
    before = fingerprint(root)
    machines.write(root, {file: text})

    assert fingerprint(root) == before


def test_another_version_of_a_runtime_has_another(monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint()
    monkeypatch.setattr(type(RUNTIMES["onnxruntime"]), "version", lambda self: "1.0.0")

    assert fingerprint() != before
