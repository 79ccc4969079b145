"""What the firmware of a Raspberry Pi says of its supply and its heat: the bits of `vcgencmd get_throttled`.

Bits 0 to 3 are of now, 16 to 19 the same since the board started: raspberrypi.com/documentation, "vcgencmd". Kernels
of Raspberry Pi OS have the number in a file too, in hexadecimal.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from edgeattn.devices.cgroup import read

_FILES = "sys/devices/platform/soc*/*firmware/get_throttled"
_COMMAND = "vcgencmd"
_TIMEOUT_S = 2.0
_BITS = {0: "under-voltage", 1: "the CPU's clock capped", 2: "the CPU throttled", 3: "soft temperature limit"}
_SINCE_START = 16
_SAID = re.compile(r"(?:throttled=)?(?:0x)?([0-9a-fA-F]{1,8})")


class Firmware:
    """The firmware's bits: from the file below `root`, else from vcgencmd where there is one."""

    def __init__(self, root: Path, command: str | None = None) -> None:
        """command: in place of vcgencmd."""
        self._file = next(iter(sorted(root.glob(_FILES))), None)
        self._command = shutil.which(command or _COMMAND)

    def bits(self) -> int | None:
        """None where there is no such firmware, or it does not answer."""
        if self._file is not None:
            return _parsed(read(self._file) or "")
        if self._command is None:
            return None
        asked = (self._command, "get_throttled")
        try:
            done = subprocess.run(asked, capture_output=True, timeout=_TIMEOUT_S, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return None if done.returncode else _parsed(done.stdout.decode("ascii", errors="replace"))


def now(bits: int | None) -> list[str]:
    """What slows the board now, in words."""
    return [] if bits is None else [title for bit, title in _BITS.items() if bits >> bit & 1]


def since_start(bits: int | None) -> dict[str, int]:
    """In words -> 1 where it has happened since the board started, else 0."""
    return {} if bits is None else {title: bits >> (_SINCE_START + bit) & 1 for bit, title in _BITS.items()}


def _parsed(text: str) -> int | None:
    found = _SAID.fullmatch(text.strip())
    return int(found[1], 16) if found else None
