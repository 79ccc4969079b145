"""What a device can do: its runtimes, memory and CPU, and how its energy is measured.

A profile is read from `devices/<name>.yaml` by `edgeattn.devices.load` and travels inside a bundle as JSON.
Code asks what a device can do; its name is for people. None is unknown.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from edgeattn.validation import Part

NAME = r"^[a-z0-9][a-z0-9._-]{0,63}$"
Name = Annotated[str, Field(pattern=NAME)]
Text = Annotated[str, Field(min_length=1, max_length=1000)]
Version = Annotated[str, Field(pattern=r"^\d+(\.\d+){0,3}$")]


class RuntimeSupport(Part):
    """A runtime for this device, and what it runs there."""

    name: Name
    min_version: Version | None = None
    opset: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] = Field(
        description="lowest and highest ONNX opset that every version from min_version on runs"
    )
    methods: tuple[Name, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _ordered(self) -> RuntimeSupport:
        low, high = self.opset
        if low > high:
            raise ValueError(f"opset: the lowest, {low}, is above the highest, {high}")
        return self


class CpuFacts(Part):
    """A processor: its name, cores and instruction sets."""

    model: str | None = None
    cores: Annotated[int, Field(ge=1)] | None = Field(default=None, description="physical cores of the whole machine")
    threads: Annotated[int, Field(ge=1)] | None = Field(default=None, description="logical cores of the whole machine")
    instruction_sets: tuple[str, ...] = ()
    max_mhz: Annotated[int, Field(ge=1)] | None = None
    caches_bytes: dict[str, int] = Field(default_factory=dict, description='such as {"L1d": 32768, "L2": 524288}')


class PowerModel(Part):
    """An estimate of joules: watts_per_core x CPU seconds + idle_watts x seconds."""

    watts_per_core: Annotated[float, Field(gt=0)] = Field(description="watts that one busy core draws")
    idle_watts: Annotated[float, Field(ge=0)] | None = Field(
        default=None,
        description="watts drawn with no core busy; None: already included in watts_per_core",
    )
    source: Text


class EnergySource(Part):
    """How the device's energy is measured."""

    kind: Name = Field(description="a name of edgeattn.meters.METERS, or none where the device has no sensor")
    power_model: PowerModel | None = Field(
        default=None, description="what to estimate with where the sensor is unavailable"
    )


class Note(Part):
    """A fact about the device, with its source."""

    text: Text
    source: Text


class DeviceProfile(Part):
    """A device that bundles are made for."""

    name: Name
    description: Text
    probe: bool = Field(
        default=False, description="the device is the machine that reads the profile; false: it is another machine"
    )
    runtimes: tuple[RuntimeSupport, ...] = Field(min_length=1, description="in order of preference")
    memory_bytes: Annotated[int, Field(ge=1)] | None = None
    cpu: CpuFacts | None = None
    energy: EnergySource = EnergySource(kind="none")
    notes: tuple[Note, ...] = ()
