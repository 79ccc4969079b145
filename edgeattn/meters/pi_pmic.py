"""Power of a Raspberry Pi 5, from the regulator chip (PMIC) on its board.

`vcgencmd pmic_read_adc` prints each rail's current and voltage. They are summed: what the PMIC gives out, without its
own loss and without what USB devices draw from the 5 V input, which has a voltage and no current.
"""

from __future__ import annotations

import re
import subprocess

from edgeattn.devices import DeviceProfile
from edgeattn.meters.base import Scope
from edgeattn.meters.faults import Dropout, SensorError
from edgeattn.meters.power import PowerTally, Stillness
from edgeattn.meters.sampled import SampledMeter
from edgeattn.plaintext import plain

_COMMAND = ("vcgencmd", "pmic_read_adc")
_LINE = re.compile(r"^\s*(\w+)_([AV])\s+(?:current|volt)\(\d+\)=(-?[\d.]+)\2\s*$", re.MULTILINE | re.ASCII)
_TIMEOUT_S = 2.0
_CLOSED = "only the group video may: sudo usermod -aG video $USER, then log in again"


class PiPmic(SampledMeter):
    """The sum of the PMIC's rails. command: prints them."""

    name = "pi_pmic"
    scope: Scope = "partial"
    poll_s = 0.1  # the firmware reads its converter no faster

    def __init__(self, command: tuple[str, ...] = _COMMAND) -> None:
        self._command = command
        self._stillness = Stillness(self.poll_s)

    def open(self) -> PowerTally:
        """A tally of the rails. Raises SensorError where vcgencmd is missing, closed or knows no PMIC."""
        rails = len(rail_watts(self._output()))

        def watts() -> float:
            found = rail_watts(self._output())
            if len(found) != rails:
                raise Dropout(f"{self._command[0]} told of {len(found)} rails, not of {rails}")
            return sum(found.values())

        source = f"PMIC, {rails} rails"
        return PowerTally(watts, source, period_s=self.poll_s, stillness=self._stillness).start()

    def _output(self) -> str:
        try:
            done = subprocess.run(self._command, capture_output=True, timeout=_TIMEOUT_S, check=False)
        except FileNotFoundError:
            raise SensorError(
                f"{self._command[0]} is not found: it comes with Raspberry Pi OS, in the package raspi-utils-core"
            ) from None
        except PermissionError:
            raise SensorError(f"{self._command[0]} cannot be run: {_CLOSED}") from None
        except subprocess.TimeoutExpired:
            raise Dropout(f"{self._command[0]} did not answer within {_TIMEOUT_S:g} s") from None
        said = done.stdout.decode("ascii", errors="replace")
        if done.returncode:
            why = plain((said + done.stderr.decode("ascii", errors="replace")).strip())[:120]
            raise SensorError(f"{self._command[0]}: {why or 'failed'}. If the device file exists, {_CLOSED}")
        return said


def rail_watts(text: str) -> dict[str, float]:
    """Rail -> watts, of the lines that `vcgencmd pmic_read_adc` prints: those with both a current and a voltage.

    Raises SensorError where there are none, and for a negative reading.
    """
    values: dict[str, dict[str, float]] = {}
    for rail, unit, value in _LINE.findall(text):
        try:
            values.setdefault(rail, {})[unit] = float(value)
        except ValueError:
            raise SensorError(f"{rail} reads {value!r}") from None
    pairs = {rail: found for rail, found in values.items() if len(found) == 2}
    if not pairs:
        raise SensorError(f"vcgencmd tells of no rails, only a Raspberry Pi 5 has them: {plain(text.strip())[:80]!r}")
    for rail, found in pairs.items():
        if min(found.values()) < 0:
            raise SensorError(f"{rail} reads {found['V']:g} V and {found['A']:g} A")
    return {rail: found["A"] * found["V"] for rail, found in pairs.items()}


def meter(profile: DeviceProfile) -> PiPmic:
    """The meter of this board; it needs nothing from the profile."""
    return PiPmic()
