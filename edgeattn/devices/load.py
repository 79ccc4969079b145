"""Reads `devices/<name>.yaml` into a DeviceProfile."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeattn.devices.file import DeviceFile
from edgeattn.devices.probe import probe_cpu, usable_memory_bytes
from edgeattn.devices.profile import NAME, CpuFacts, DeviceProfile
from edgeattn.devices.root import system_root
from edgeattn.errors import InputError
from edgeattn.registry import did_you_mean
from edgeattn.shipped import shipped
from edgeattn.validation import validate
from edgeattn.yamlfile import Place, Positions, read_yaml

SCHEMA_VERSION = 1
UNKNOWN = (None, None)  # processor and memory of a device that cannot be read
# Lists whose entries a device adds to those of the device that it extends.
_ADDED = ("notes", "not_run")


@dataclass(frozen=True)
class Layered(Positions):
    """Where values stand in a document laid over another file's."""

    over: Positions
    base: Positions

    def where(self, loc: Place = ()) -> str:
        """ "file:line" in the file that the value came from."""
        return (self.over if self.known(loc) in self.over.lines else self.base).where(loc)


def device_names(folder: Path | None = None) -> list[str]:
    """The devices that have a profile, sorted."""
    return sorted(path.stem for path in (folder or shipped("devices")).glob("*.yaml"))


def load_device(
    name: str,
    *,
    folder: Path | None = None,
    root: Path | None = None,
    probed: tuple[CpuFacts | None, int | None] | None = None,
) -> DeviceProfile:
    """The profile of the device `name`, or of a file such as "./board.yaml", which may extend a device.

    folder: the folder of the device files; edgeattn's own when None. root: the folder that has /proc and /sys, for a
    profile that probes; `system_root()` when None. probed: processor and bytes of memory of another machine, which are
    then not probed here.
    Raises InputError for an unknown name, with the nearest one, and for a broken file.
    """
    document, positions = _resolve(name, folder or shipped("devices"), ())
    name = Path(name).stem if _is_file(name) else name
    if not re.fullmatch(NAME, name):
        raise InputError(f"{name!r} is not the name of a device", where=str(positions.file), fix="rename the file")
    file = validate(DeviceFile, document, positions)
    cpu, memory_bytes = file.cpu, file.memory_bytes
    if file.probe:
        stated = cpu.model_dump(exclude_unset=True) if cpu else {}
        root = root or system_root()
        found, memory = probed or (probe_cpu(root), usable_memory_bytes(root))
        cpu = found and found.model_copy(update=stated)
        memory_bytes = memory_bytes or memory
    return file.profile(name, cpu, memory_bytes)


def _resolve(name: str, folder: Path, via: tuple[str, ...]) -> tuple[dict[str, Any], Positions]:
    """The document of `name` laid over those it extends, lists as tuples, and where its values stand."""
    where = str(folder / f"{via[-1]}.yaml") if via else None
    if name in via:
        circle = " -> ".join((*via, name))
        raise InputError(f"extends goes round in a circle: {circle}", where=where, fix="extend another device")
    known = device_names(folder)
    if name in known:
        file = folder / f"{name}.yaml"
    elif _is_file(name) and not via:  # a device file extends devices by name only
        file = Path(name)
    else:
        fix = f"{did_you_mean(name, known)}, or give the path of a profile, such as ./board.yaml"
        raise InputError(f"unknown device {name!r}", where=where, fix=fix)
    parsed, positions = read_yaml(file)
    document = _tuples(parsed)
    if not isinstance(document, dict):
        raise InputError("a device profile is a mapping", where=positions.where(), fix="see devices/cpu.yaml")
    version = document.get("schema")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise InputError(
            f"schema {version} is newer than {SCHEMA_VERSION}, the newest that this edgeattn reads",
            where=positions.where(("schema",)),
            fix="update edgeattn",
        )
    if "extends" not in document:
        return document, positions
    base, below = _resolve(str(document.pop("extends")), folder, (*via, name))
    layered = Layered(positions.file, {**below.lines, **positions.lines}, over=positions, base=below)
    return _overlay(base, document), layered


def _is_file(name: str) -> bool:
    return name.endswith((".yaml", ".yml"))


def _overlay(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` laid over `base`: mappings are joined, notes added, anything else is replaced; null takes away."""
    joined = dict(base)
    for key, value in over.items():
        below = joined.get(key)
        if isinstance(below, dict) and isinstance(value, dict):
            joined[key] = _overlay(below, value)
        elif value is None:
            joined.pop(key, None)
        elif key in _ADDED and value and isinstance(value, tuple) and isinstance(below, tuple):
            joined[key] = value + below
        else:
            joined[key] = value
    return joined


def _tuples(value: Any) -> Any:
    """`value` with tuples in place of lists, as strict validation of a frozen part needs."""
    if isinstance(value, list):
        return tuple(map(_tuples, value))
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return value
