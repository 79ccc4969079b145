"""bundle.json, the manifest of a bundle: its types, and how it is read."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, NonNegativeInt, field_validator, model_validator

from edgeattn.devices.profile import Name
from edgeattn.errors import BundleError
from edgeattn.jsonfile import COPY_AGAIN, read_json
from edgeattn.metrics import METRICS, Metric
from edgeattn.validation import Distinct, Many, Part

__all__ = [
    "COPY_AGAIN",
    "MANIFEST",
    "REPORTS",
    "BenchSpec",
    "EngineRef",
    "FileEntry",
    "Manifest",
    "Metric",
    "PlanEntry",
    "TaskSpec",
    "TensorSpec",
    "read_manifest",
]

SCHEMA_VERSION = 1
MANIFEST = "bundle.json"
SIDES = ("efficient", "dense")
REPORTS = ("verify.json", "bench.json", "report.html")

Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


def _graph_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}\.onnx", value):
        raise ValueError(f"{value!r} is not the name of an ONNX file directly in the bundle")
    return value


def _engine_path(value: str) -> str:
    if not re.fullmatch(r"engine/[a-z0-9][a-z0-9_-]{0,63}", value):
        raise ValueError(f"{value!r} is not a folder engine/NAME of the bundle")
    return value


GraphName = Annotated[str, AfterValidator(_graph_name)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
_TensorName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,199}$")]
_AxisName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
_Utc = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|\+00:00)$")]


class TensorSpec(Part):
    """An input or output of both graphs. Dimensions are sizes or names: "batch", "sequence"."""

    name: _TensorName
    dtype: Literal["bool", "int8", "uint8", "int32", "int64", "float16", "float32", "float64"]
    dims: Annotated[tuple[Count | _AxisName, ...], Field(min_length=1, max_length=8)]

    @field_validator("dims")
    @classmethod
    def _names_stand_once(cls, dims: tuple[int | str, ...]) -> tuple[int | str, ...]:
        names = [dim for dim in dims if isinstance(dim, str)]
        if len(set(names)) < len(names):
            raise ValueError(f"{list(dims)} has one name for two dimensions")
        return dims


class EngineRef(Part):
    """An engine and the graph that it was built from, both relative to the bundle.

    method: of its quantization. least_cosine: between its outputs and the golden ones; below, it computes another
    function than the model that was exported.
    """

    runtime: Name
    path: Annotated[str, AfterValidator(_engine_path)]
    graph: GraphName
    method: Name
    least_cosine: Annotated[float, Field(ge=0, le=1)]


class TaskSpec(Part):
    """How outputs are scored, and the share of the teacher's value that accept_metric must keep."""

    kind: str
    metrics: Distinct[Metric]
    accept_metric: str
    accept_of_teacher: Annotated[float, Field(gt=0, le=1)]


class BenchSpec(Part):
    """What is timed: lengths in tokens, None for models without a sequence."""

    lengths: Distinct[Count] | None
    batch_size: Count
    pairs: Annotated[int, Field(ge=1, le=100)]


class FileEntry(Part):
    """Size and digest of a file."""

    sha256: Digest
    bytes: NonNegativeInt


class PlanEntry(Part):
    """What a layer's attention was replaced with."""

    layer: NonNegativeInt
    variant: Name
    options: dict[str, Any]


class Manifest(Part):
    """bundle.json. `write` fills in files."""

    schema_version: Literal[1] = 1
    name: Name
    description: Annotated[str, Field(max_length=500)]
    created_utc: _Utc
    recipe: dict[str, Any]
    plan: Many[PlanEntry]
    target: dict[str, Any]
    inputs: Annotated[tuple[TensorSpec, ...], Field(min_length=1)]
    outputs: Annotated[tuple[TensorSpec, ...], Field(min_length=1)]
    task: TaskSpec
    bench: BenchSpec
    engines: dict[str, EngineRef]
    provenance: dict[str, str]
    libraries: dict[str, str]
    choice: dict[str, Any]
    files: dict[str, FileEntry] = Field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Of the bundle's files, whatever reports were recorded beside them: by it, a report names its bundle."""
        files = sorted((name, entry.sha256) for name, entry in self.files.items() if name not in REPORTS)
        return f"sha256:{hashlib.sha256(json.dumps(files).encode()).hexdigest()}"

    @field_validator("engines")
    @classmethod
    def _efficient_at_least(cls, engines: Mapping[str, EngineRef]) -> Mapping[str, EngineRef]:
        if "efficient" not in engines or not set(engines) <= set(SIDES):
            raise ValueError(f"{sorted(engines)}; a bundle has the engine 'efficient', and may have 'dense'")
        return engines

    @field_validator("task")
    @classmethod
    def _metrics_of_the_task(cls, task: TaskSpec) -> TaskSpec:
        if task.kind not in METRICS:
            raise ValueError(f"unknown kind {task.kind!r}; use one of: {', '.join(METRICS)}")
        for metric in task.metrics:
            if metric not in METRICS[task.kind]:
                raise ValueError(f"{metric.name!r} is not a metric of {task.kind}, or not in this direction")
        if task.accept_metric not in [metric.name for metric in task.metrics]:
            raise ValueError(f"accept_metric {task.accept_metric!r} is not among its metrics")
        return task

    @model_validator(mode="after")
    def _dims_fit_each_other(self) -> Manifest:
        tensors = [*self.inputs, *self.outputs]
        if len({tensor.name for tensor in tensors}) < len(tensors):
            raise ValueError("two inputs or outputs have the same name")
        if len({tensor.dims[0] for tensor in tensors}) > 1:
            raise ValueError("the first dimensions of inputs and outputs differ; it is the batch in all of them")
        return self


def read_manifest(path: Path) -> Manifest:
    """The manifest of the bundle in the folder `path`. Raises BundleError; for a newer schema, with both versions."""
    file = path / MANIFEST
    try:
        file.lstat()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else error
        fix = "name the folder that holds it"
        raise BundleError(f"cannot be read as a bundle: {reason}", where=str(file), fix=fix) from error
    return read_json(file, Manifest, newest=SCHEMA_VERSION)
