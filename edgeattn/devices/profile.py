"""What a device can do: its runtimes, memory and CPU, and how its energy is measured.

A profile is read from `devices/<name>.yaml` by `edgeattn.devices.load` and travels inside a bundle as JSON.
Code asks what a device can do; its name is for people. None is unknown.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from edgeattn.validation import Part

NAME = r"^[a-z0-9][a-z0-9._-]{0,63}$"
MODE = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
Name = Annotated[str, Field(pattern=NAME)]
Text = Annotated[str, Field(min_length=1, max_length=1000)]
SM = r"^\d{1,2}\.\d$"
Version = Annotated[str, Field(pattern=r"^\d+(\.\d+){0,3}$")]
MeasuredScope = Literal["module", "package", "gpu", "wall", "partial"]


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


class Peaks(Part):
    """Dense peak rates in 10^12 operations a second, a multiply-add being two; None is unknown or absent."""

    fp32: Annotated[float, Field(gt=0)] | None = None
    fp16: Annotated[float, Field(gt=0)] | None = None
    int8: Annotated[float, Field(gt=0)] | None = None
    fp8: Annotated[float, Field(gt=0)] | None = None
    fp4: Annotated[float, Field(gt=0)] | None = None


class GpuFacts(Part):
    """An NVIDIA GPU: its compute capability and its size. A profile of several GPUs leaves out what differs."""

    sm: Annotated[str, Field(pattern=SM)] | None = Field(default=None, description='compute capability, such as "8.7"')
    multiprocessors: Annotated[int, Field(ge=1)] | None = None
    max_mhz: Annotated[int, Field(ge=1)] | None = None


class ModeFacts(Part):
    """What a power mode of the device allows."""

    watts: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="the budget that the mode is named for: a cap on clocks, not a measurement"
    )
    default: bool = False
    multiprocessors: Annotated[int, Field(ge=1)] | None = None
    gpu_mhz: Annotated[int, Field(ge=1)] | None = None
    cpu_cores: Annotated[int, Field(ge=1)] | None = None
    cpu_mhz: Annotated[int, Field(ge=1)] | None = None
    bandwidth_gb_per_s: Annotated[float, Field(gt=0)] | None = None
    peaks: Peaks = Peaks()


class PowerMode(ModeFacts):
    """A power mode of the device, known by its name: numbers differ between boards and firmware."""

    name: Annotated[str, Field(pattern=MODE)]


class ReleaseFacts(Part):
    """The TensorRT that comes with a release of the device's system software.

    l4t: lowest and highest version of NVIDIA's Linux for Tegra that it spans, such as ("36.4", "36.5").
    opset: lowest and highest ONNX opset that its TensorRT parses.
    """

    l4t: tuple[Version, Version] | None = None
    tensorrt: Version
    cuda: Version | None = None
    python: Version | None = None
    opset: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]
    unconfirmed: tuple[str, ...] = Field(default=(), description="fields without a primary source")
    source: Text | None = None


class Release(ReleaseFacts):
    """A release of the device's system software, such as "JetPack 6.0"."""

    name: Text

    @property
    def l4t_range(self) -> str | None:
        """Such as "36.4 to 36.5", or "39" for all of 39."""
        if self.l4t is None:
            return None
        low, high = self.l4t
        return high if low == high or low.startswith(f"{high}.") else f"{low} to {high}"

    def has(self, l4t: str) -> bool:
        """Whether the version `l4t` lies in the range: 36.4.3 does in ("36.4", "36.4")."""
        if self.l4t is None:
            return False
        low, high = ([int(part) for part in end.split(".")] for end in self.l4t)
        found = [int(part) for part in l4t.split(".")]
        return found >= low and found[: len(high)] <= high


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
    rails: dict[str, str] = Field(default_factory=dict, description="label of a sensor's channel -> what it feeds")
    total: tuple[str, ...] = Field(default=(), description="the rails whose sum is the device's power")
    scope: MeasuredScope | None = Field(default=None, description="of the sum: what its joules cover")
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
    architecture: Annotated[str, Field(pattern=r"^[a-z0-9_]{1,20}$")] | None = Field(
        default=None, description="as `uname -m` says it, such as aarch64"
    )
    modules: tuple[Name, ...] = Field(
        default=(),
        description="NVIDIA's part numbers, any one of which it is: p3767-0003, or p3668 for all of that family",
    )
    runtimes: tuple[RuntimeSupport, ...] = Field(min_length=1, description="in order of preference")
    software: tuple[Release, ...] = Field(default=(), description="the oldest first")
    memory_bytes: Annotated[int, Field(ge=1)] | None = None
    bandwidth_gb_per_s: Annotated[float, Field(gt=0)] | None = Field(default=None, description="of memory, theoretical")
    cpu: CpuFacts | None = None
    gpu: GpuFacts | None = None
    peaks: Peaks = Field(
        default=Peaks(), description="of what runs the graphs, GPU or processor, at its highest clocks"
    )
    power_modes: tuple[PowerMode, ...] = Field(default=(), description="the smallest budget first")
    energy: EnergySource = EnergySource(kind="none")
    notes: tuple[Note, ...] = ()
    not_run: tuple[Text, ...] = Field(
        default=(), description="parts of edgeattn that its developers have not run on such a device"
    )

    def release(self, l4t: str) -> Release | None:
        """The release of the device's system software that has this L4T; None where the profile knows none."""
        return next((release for release in self.software if release.has(l4t)), None)
