"""The PMIC of a Raspberry Pi 5, with a stand-in for vcgencmd."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from edgeattn.meters.faults import SensorError
from edgeattn.meters.pi_pmic import PiPmic, rail_watts

# As the firmware prints it, shortened: currents, then voltages, and two voltages that have no current.
PRINTED = """\
 3V7_WL_SW_A current(0)=0.08490678A
   3V3_SYS_A current(1)=0.08002540A
  VDD_CORE_A current(7)={core:.8f}A
 3V7_WL_SW_V volt(8)=3.70254000V
   3V3_SYS_V volt(9)=3.31231700V
  VDD_CORE_V volt(15)=0.90097080V
      HDMI_V volt(23)=5.12216000V
     EXT5V_V volt(24)=5.15388000V
"""
WATTS = 0.08490678 * 3.70254 + 0.0800254 * 3.312317


def _vcgencmd(folder: Path, script: str) -> tuple[str, str]:
    """A command in sh that plays vcgencmd."""
    file = folder / "vcgencmd"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return str(file), "pmic_read_adc"


def test_currents_and_voltages_are_paired_and_the_rest_left_out() -> None:
    found = rail_watts(PRINTED.format(core=2.0))

    assert list(found) == ["3V7_WL_SW", "3V3_SYS", "VDD_CORE"]
    assert sum(found.values()) == pytest.approx(WATTS + 2.0 * 0.9009708)


def test_the_rails_are_read_while_the_window_is_open(tmp_path: Path) -> None:
    command = _vcgencmd(tmp_path, f"cat <<END\n{PRINTED.format(core=1.5)}END")
    meter = PiPmic(command)
    meter.poll_s = 0.02

    assert meter.available() is None
    with meter.window() as window:
        time.sleep(0.2)

    assert window.energy is not None, window.reason
    assert window.energy.watts == pytest.approx(WATTS + 1.5 * 0.9009708, rel=1e-3)
    assert (window.energy.scope, window.energy.source) == ("partial", "PMIC, 3 rails")


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo VCHI initialization failed; exit 255", "VCHI initialization failed. If the device file exists, only the "
         "group video may: sudo usermod -aG video $USER, then log in again"),
        ("echo 'error=1 error_msg=\"Command not registered\"'", "vcgencmd tells of no rails, only a Raspberry Pi 5 "
         "has them: 'error=1 error_msg=\"Command not registered\"'"),
        ("echo ' A_A current(0)=-0.5A'; echo ' A_V volt(8)=3.7V'", "A reads 3.7 V and -0.5 A"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_remedy(script: str, reason: str, tmp_path: Path) -> None:
    found = PiPmic(_vcgencmd(tmp_path, script)).available()

    assert found is not None
    assert found.endswith(reason)


def test_another_machine_has_no_vcgencmd(tmp_path: Path) -> None:
    found = PiPmic((str(tmp_path / "absent"), "pmic_read_adc")).available()

    assert found is not None
    assert found.endswith("is not found: it comes with Raspberry Pi OS, in the package raspi-utils-core")


def test_a_number_with_two_points_is_no_reading() -> None:
    with pytest.raises(SensorError, match=r"A reads '1\.2\.3'"):
        rail_watts("A_A current(0)=1.2.3A\nA_V volt(1)=1.0V\n")
