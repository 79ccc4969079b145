"""Facts about the board that this machine is: module, L4T release, power modes, GPU.

They come from files that a vendor, an integrator or a container has written, so nothing in them is trusted: what is
not in its documented form is unknown, and text for people is short and cannot control a terminal.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Annotated

from pydantic import Field

from edgeattn.devices.cgroup import read
from edgeattn.devices.profile import MODE, SM, Version
from edgeattn.plaintext import plain
from edgeattn.validation import Part

_MODULE = re.compile(r"nvidia,(?:p\d{4}-\d{4}\+)?(p\d{4}-\d{4})(?:-[a-z0-9-]+)?")
_RELEASE = re.compile(r"^# R(\d{1,3}) \(release\), REVISION: (\d{1,3}(?:\.\d{1,3}){0,2}),", re.MULTILINE)
_MODE = re.compile(r"^\s*<\s*POWER_MODEL\s+ID=(\d{1,4})\s+NAME=(\S{1,64})\s*>", re.MULTILINE)
_CURRENT = re.compile(r"^pmode:(\d{1,8})\b")
_GPU = re.compile(r"^Model:\s*(\S.*)$", re.MULTILINE)

# Chip -> compute capability of its GPU: NVIDIA's table of CUDA GPUs.
_SM = {"nvidia,tegra194": "7.2", "nvidia,tegra234": "8.7", "nvidia,tegra264": "11.0", "NVIDIA GB10": "12.1"}

_MOST = 32  # modes, GPUs
_SHOWN = 120
Shown = Annotated[str, Field(max_length=_SHOWN)]
Mode = Annotated[str, Field(pattern=MODE)]


class BoardFacts(Part):
    """A board; None and an empty tuple are unknown.

    module: NVIDIA's part number, such as p3767-0003. model: the board's name, for people. l4t: version of NVIDIA's
    Linux for Tegra, such as 36.4.3. power_mode: the present one of power_modes. sm: compute capability of the GPU.
    gpus: names of NVIDIA GPUs that have a driver of their own, so none of a Jetson.
    """

    module: Annotated[str, Field(pattern=r"^p\d{4}-\d{4}$")] | None = None
    model: Shown | None = None
    l4t: Version | None = None
    power_mode: Mode | None = None
    power_modes: Annotated[tuple[Mode, ...], Field(max_length=_MOST)] = ()
    sm: Annotated[str, Field(pattern=SM)] | None = None
    gpus: Annotated[tuple[Shown, ...], Field(max_length=_MOST)] = ()


def board_facts(root: Path) -> BoardFacts:
    """The board whose /proc, /sys, /etc and /var are below `root`."""
    compatible = (_device_tree(root, "compatible") or "").split("\0")
    modes = _modes(root)
    current = _CURRENT.match(read(root / "var/lib/nvpmodel/status") or "")
    gpus = _gpus(root)
    return BoardFacts(
        module=_module(compatible),
        model=board_model(root),
        l4t=_l4t(root),
        power_mode=modes.get(int(current[1])) if current else None,
        power_modes=tuple(modes.values()),
        sm=next((_SM[name] for name in (*compatible, *gpus) if name in _SM), None),
        gpus=gpus,
    )


def board_model(root: Path) -> str | None:
    """The board's name, for people, such as "Raspberry Pi 5 Model B Rev 1.0"."""
    return shown(_device_tree(root, "model"))


def shown(text: str | None) -> str | None:
    """Text for people without what controls a terminal or could not be decoded; None where nothing is left."""
    kept = plain(text or "").replace("\N{REPLACEMENT CHARACTER}", "").strip()
    return kept[:_SHOWN].strip() or None


def _device_tree(root: Path, name: str) -> str | None:
    # /proc/device-tree is an absolute link to the other, which leads out of a root that is not /.
    return read(root / "sys/firmware/devicetree/base" / name) or read(root / "proc/device-tree" / name)


def _module(compatible: list[str]) -> str | None:
    """Of "nvidia,p3768-0000+p3767-0005-super", carrier board and module, or of "nvidia,p3767-0005"."""
    found = [match[1] for entry in compatible if (match := _MODULE.fullmatch(entry))]
    return found[0] if found else None


def _l4t(root: Path) -> str | None:
    """Of the line "# R36 (release), REVISION: 4.3, GCID: ..."."""
    found = _RELEASE.search(read(root / "etc/nv_tegra_release") or "")
    return f"{found[1]}.{found[2]}" if found else None


def _modes(root: Path) -> dict[int, str]:
    """Number -> name, of lines "< POWER_MODEL ID=0 NAME=15W >". The numbers differ between boards and firmware."""
    text = read(_below(root, root / "etc/nvpmodel.conf")) or ""
    named = [(int(number), name) for number, name in _MODE.findall(text) if re.fullmatch(MODE, name)]
    return dict(named[:_MOST])


def _below(root: Path, file: Path) -> Path:
    """Where `file` is, or what it links to: an absolute link of the board is one below `root`."""
    with contextlib.suppress(OSError):
        if file.is_symlink() and (target := file.readlink()).is_absolute():
            return root / target.relative_to("/")
    return file


def _gpus(root: Path) -> tuple[str, ...]:
    files = sorted((root / "proc/driver/nvidia/gpus").glob("*/information"))[:_MOST]
    models = (_GPU.search(read(file) or "") for file in files)
    names = (shown(found[1]) for found in models if found)
    return tuple(name for name in names if name)
