"""Reads `devices/<name>.yaml` into a DeviceProfile."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from edgeattn.devices.probe import probe_cpu, usable_memory_bytes
from edgeattn.devices.profile import (
    NAME,
    CpuFacts,
    DeviceProfile,
    EnergySource,
    GpuFacts,
    Note,
    Peaks,
    PowerMode,
    PowerModel,
    Release,
    RuntimeSupport,
    Text,
)
from edgeattn.errors import InputError
from edgeattn.registry import did_you_mean
from edgeattn.shipped import shipped
from edgeattn.validation import Part, validate
from edgeattn.yamlfile import Place, Positions, read_yaml

SCHEMA_VERSION = 1
UNKNOWN = (None, None)  # processor and memory of a device that cannot be read
_COMING = "profiles of NVIDIA Jetson and Raspberry Pi boards come with a later version"


class PowerModelFor(PowerModel):
    """A power model for the processors that have an instruction set."""

    needs: str | None = None


class EnergyFile(Part):
    """`energy:` of a device file."""

    kind: str
    rails: dict[str, str] = Field(default_factory=dict)
    total: tuple[str, ...] = ()
    scope: str | None = None
    power_models: tuple[PowerModelFor, ...] = Field(
        default=(), description="the first whose `needs` the processor has is taken"
    )


class DeviceFile(Part):
    """A device file, its `extends:` resolved. The profile's name is the file's."""

    schema_version: Literal[1] = Field(alias="schema")
    description: Text
    probe: bool = Field(
        default=False, description="the device is the machine that reads the file: cpu and memory_bytes are probed"
    )
    architecture: str | None = None
    modules: tuple[str, ...] = ()
    runtimes: tuple[RuntimeSupport, ...] = Field(min_length=1)
    software: tuple[Release, ...] = ()
    memory_bytes: int | None = Field(default=None, ge=1)
    bandwidth_gb_per_s: float | None = Field(default=None, gt=0)
    cpu: CpuFacts | None = None
    gpu: GpuFacts | None = None
    peaks: Peaks = Peaks()
    power_modes: tuple[PowerMode, ...] = ()
    energy: EnergyFile = EnergyFile(kind="none")
    notes: tuple[Note, ...] = ()


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
    root: Path = Path("/"),
    probed: tuple[CpuFacts | None, int | None] | None = None,
) -> DeviceProfile:
    """The profile of the device `name`, or of a file such as "./board.yaml", which may extend a device.

    folder: the folder of the device files; edgeattn's own when None. root: the folder that has /proc and /sys, for a
    profile that probes. probed: processor and bytes of memory of another machine, which are then not probed here.
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
        found, memory = probed or (probe_cpu(root), usable_memory_bytes(root))
        cpu = found and found.model_copy(update=stated)
        memory_bytes = memory_bytes or memory
    energy = file.energy
    return DeviceProfile(
        name=name,
        description=file.description,
        probe=file.probe,
        architecture=file.architecture,
        modules=file.modules,
        runtimes=file.runtimes,
        software=file.software,
        memory_bytes=memory_bytes,
        bandwidth_gb_per_s=file.bandwidth_gb_per_s,
        cpu=cpu,
        gpu=file.gpu,
        peaks=file.peaks,
        power_modes=file.power_modes,
        energy=EnergySource(
            kind=energy.kind,
            rails=energy.rails,
            total=energy.total,
            scope=energy.scope,
            power_model=_power_model(energy, cpu),
        ),
        notes=file.notes,
    )


def _power_model(energy: EnergyFile, cpu: CpuFacts | None) -> PowerModel | None:
    sets = cpu.instruction_sets if cpu else ()
    for model in energy.power_models:
        if model.needs is None or model.needs in sets:
            return PowerModel(**model.model_dump(exclude={"needs"}))
    return None


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
        fix = f"{did_you_mean(name, known)}, or give the path of a profile, such as ./board.yaml; {_COMING}"
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
    """`over` laid over `base`: mappings are joined, anything else is replaced."""
    joined = dict(base)
    for key, value in over.items():
        below = joined.get(key)
        if isinstance(below, dict) and isinstance(value, dict):
            joined[key] = _overlay(below, value)
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
