"""What a device file may say, and the profile that it makes.

What a file inherits piece by piece with `extends:` is a mapping by name: power modes, releases. What follows from
other facts is not written: peaks, from the GPU's operations per clock.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from packaging.version import Version as Ordered
from pydantic import Field

from edgeattn.devices.profile import (
    MODE,
    CpuFacts,
    DeviceProfile,
    EnergySource,
    GpuFacts,
    MeasuredScope,
    ModeFacts,
    Name,
    Note,
    Peaks,
    PowerMode,
    PowerModel,
    Release,
    ReleaseFacts,
    RuntimeSupport,
    Text,
)
from edgeattn.validation import Part


class PowerModelFor(PowerModel):
    """A power model for the processors that have an instruction set."""

    needs: str | None = None


class EnergyFile(Part):
    """`energy:` of a device file."""

    kind: str
    rails: dict[str, str] = Field(default_factory=dict)
    total: tuple[str, ...] = ()
    scope: MeasuredScope | None = None
    power_models: tuple[PowerModelFor, ...] = Field(
        default=(), description="the first whose `needs` the processor has is taken"
    )

    def source(self, cpu: CpuFacts | None) -> EnergySource:
        """With the power model of the processor `cpu`."""
        sets = cpu.instruction_sets if cpu else ()
        fitting = (model for model in self.power_models if model.needs is None or model.needs in sets)
        model = next(fitting, None)
        return EnergySource(
            kind=self.kind,
            rails=self.rails,
            total=self.total,
            scope=self.scope,
            power_model=model and PowerModel(**model.model_dump(exclude={"needs"})),
        )


class GpuFile(GpuFacts):
    """`gpu:` of a device file."""

    ops_per_clock: Peaks | None = Field(
        default=None, description="dense operations that one multiprocessor does in a clock; peaks follow from it"
    )

    def peaks(self, multiprocessors: int | None, mhz: int | None) -> Peaks:
        """At so many multiprocessors and MHz, in 10^12 operations a second."""
        if self.ops_per_clock is None or multiprocessors is None or mhz is None:
            return Peaks()
        rates = self.ops_per_clock.model_dump(exclude_none=True)
        return Peaks(**{kind: round(ops * multiprocessors * mhz / 1e6, 4) for kind, ops in rates.items()})

    def facts(self) -> GpuFacts:
        return GpuFacts(**self.model_dump(exclude={"ops_per_clock"}))


class DeviceFile(Part):
    """A device file, its `extends:` resolved. The profile's name is the file's."""

    schema_version: Literal[1] = Field(alias="schema")
    description: Text
    probe: bool = Field(
        default=False, description="the device is the machine that reads the file: cpu and memory_bytes are probed"
    )
    architecture: str | None = None
    modules: tuple[Name, ...] = ()
    runtimes: tuple[RuntimeSupport, ...] = Field(min_length=1)
    software: dict[Text, ReleaseFacts] = Field(default_factory=dict)
    memory_bytes: int | None = Field(default=None, ge=1)
    bandwidth_gb_per_s: float | None = Field(default=None, gt=0)
    cpu: CpuFacts | None = None
    gpu: GpuFile | None = None
    peaks: Peaks | None = None
    power_modes: dict[Annotated[str, Field(pattern=MODE)], ModeFacts] = Field(default_factory=dict)
    energy: EnergyFile = EnergyFile(kind="none")
    notes: tuple[Note, ...] = ()
    not_run: tuple[Text, ...] = ()

    def profile(self, name: str, cpu: CpuFacts | None, memory_bytes: int | None) -> DeviceProfile:
        """The profile `name` of a device with this processor and memory, which may have been probed."""
        gpu = self.gpu
        stated = self.peaks or (gpu.peaks(gpu.multiprocessors, gpu.max_mhz) if gpu else Peaks())
        return DeviceProfile(
            name=name,
            description=self.description,
            probe=self.probe,
            architecture=self.architecture,
            modules=self.modules,
            runtimes=self.runtimes,
            software=tuple(sorted((Release(name=key, **dict(each)) for key, each in self.software.items()), key=_age)),
            memory_bytes=memory_bytes,
            bandwidth_gb_per_s=self.bandwidth_gb_per_s,
            cpu=cpu,
            gpu=gpu and gpu.facts(),
            peaks=stated,
            power_modes=tuple(sorted((self._mode(*each) for each in self.power_modes.items()), key=_budget)),
            energy=self.energy.source(cpu),
            notes=self.notes,
            not_run=self.not_run,
        )

    def _mode(self, name: str, facts: ModeFacts) -> PowerMode:
        mode = PowerMode(name=name, **dict(facts))
        if self.gpu is None or mode.peaks != Peaks():
            return mode
        return mode.model_copy(update={"peaks": self.gpu.peaks(mode.multiprocessors, mode.gpu_mhz)})


def _budget(mode: PowerMode) -> float:
    return mode.watts or math.inf


def _age(release: Release) -> tuple[Any, Any]:
    return Ordered(release.l4t[0] if release.l4t else "0"), Ordered(release.tensorrt)
