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
from edgeattn.interface import Axis, Carried, Interface, TensorSpec
from edgeattn.jsonfile import COPY_AGAIN, read_json
from edgeattn.metrics import METRICS, metric_names
from edgeattn.validation import Count, Distinct, Many, Part

__all__ = [
    "COPY_AGAIN",
    "MANIFEST",
    "REPORTS",
    "Axis",
    "BenchSpec",
    "Bucket",
    "Candidate",
    "Carried",
    "DecodeGraph",
    "EngineRef",
    "FileEntry",
    "Interface",
    "Manifest",
    "PlanEntry",
    "TaskSpec",
    "TensorSpec",
    "read_manifest",
]

SCHEMA_VERSION = 1
MANIFEST = "bundle.json"
Side = Literal["efficient", "dense"]
SIDES: tuple[Side, ...] = ("efficient", "dense")
GRAPHS: dict[Side, str] = {"efficient": "model.onnx", "dense": "dense.onnx"}
DECODE_GRAPHS: dict[Side, str] = {"efficient": "decode.onnx", "dense": "decode-dense.onnx"}
CANDIDATES = "candidates"
INSTALL = "install.md"
REPORTS = (
    INSTALL, "build.json", "verify.json", "bench.json", "bench-offline.json", "bench-server.json", "bench-decode.json",
    "profile.json", "report.html",
)  # fmt: skip

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
_Utc = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|\+00:00)$")]


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


class Bucket(Part):
    """A copy of a graph with a fixed sequence length, in the same folder."""

    length: Count
    graph: GraphName


class Candidate(Part):
    """A graph that the build times: a form of one side's model, quantized by a method.

    folder: holds the graph, GRAPHS[side], its weights and its buckets. form: "plain", or how its operators are fused.
    rank: of the method; 0 is the most precise. runtimes: of the target, that can run it.
    least_cosine: see `EngineRef`. cosine: the least to the golden outputs, measured where the graph was made.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][A-Za-z0-9 ._-]{0,99}$")]
    side: Side
    form: Name
    method: Name
    rank: NonNegativeInt
    folder: Annotated[str, Field(pattern=r"^candidates/[a-z0-9][A-Za-z0-9._-]{0,99}$")]
    buckets: Many[Bucket] = ()
    runtimes: Distinct[Name]
    least_cosine: Annotated[float, Field(ge=0, le=1)]
    cosine: Annotated[float, Field(ge=-1, le=1)] | None = None
    facts: dict[str, Any] = Field(default_factory=dict)

    @property
    def graph(self) -> str:
        """Name of the graph in the folder."""
        return GRAPHS[self.side]


class DecodeGraph(Part):
    """A graph of one token, for ONNX Runtime: it reads the next token of each text, and what layers carry to it.

    graph: directly in the bundle. method: of its quantization. inputs, outputs: beside the carried tensors.
    least_cosine: see `EngineRef`. cosine: the least to the golden outputs, of texts that were read token by token.
    """

    graph: GraphName
    method: Name
    inputs: Annotated[tuple[TensorSpec, ...], Field(min_length=1)]
    outputs: Annotated[tuple[TensorSpec, ...], Field(min_length=1)]
    carried: tuple[Carried, ...]
    least_cosine: Annotated[float, Field(ge=0, le=1)]
    cosine: Annotated[float, Field(ge=-1, le=1)] | None = None


class TaskSpec(Part):
    """How outputs are scored, and the share of the teacher's value that accept_metric must keep.

    metrics: those of the kind, of `edgeattn.metrics`, that the held-out data allows.
    """

    kind: str
    metrics: Distinct[str]
    accept_metric: str
    accept_of_teacher: Annotated[float, Field(gt=0, le=1)]


class BenchSpec(Part):
    """What is timed: lengths along the manifest's length axis, None for models without one."""

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


class Manifest(Interface):
    """bundle.json. `write` fills in files.

    engines: none until the bundle is built; candidates: what a build chooses from. prefer: what it chooses by.
    decode: of a language model, both graphs or none. no_decode: why it has none.
    training: facts of the student's training, and its scores.
    """

    schema_version: Literal[1] = 1
    name: Name
    description: Annotated[str, Field(max_length=500)]
    created_utc: _Utc
    recipe: dict[str, Any]
    plan: Many[PlanEntry]
    target: dict[str, Any]
    task: TaskSpec
    bench: BenchSpec
    engines: dict[str, EngineRef] = Field(default_factory=dict)
    candidates: Many[Candidate] = ()
    prefer: Literal["latency", "size"] = "latency"
    decode: dict[Side, DecodeGraph] = Field(default_factory=dict)
    no_decode: Annotated[str, Field(max_length=1000)] | None = None
    provenance: dict[str, str]
    libraries: dict[str, str]
    training: dict[str, Any]
    files: dict[str, FileEntry] = Field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Of the bundle's files, whatever reports were recorded beside them: by it, a report names its bundle."""
        files = sorted((name, entry.sha256) for name, entry in self.files.items() if name not in REPORTS)
        return f"sha256:{hashlib.sha256(json.dumps(files).encode()).hexdigest()}"

    @field_validator("engines")
    @classmethod
    def _efficient_at_least(cls, engines: Mapping[str, EngineRef]) -> Mapping[str, EngineRef]:
        if engines and ("efficient" not in engines or not set(engines) <= set(SIDES)):
            raise ValueError(f"{sorted(engines)}; a bundle has the engine 'efficient', and may have 'dense'")
        return engines

    @field_validator("task")
    @classmethod
    def _metrics_of_the_task(cls, task: TaskSpec) -> TaskSpec:
        if task.kind not in METRICS:
            raise ValueError(f"unknown kind {task.kind!r}; use one of: {', '.join(METRICS)}")
        for name in task.metrics:
            if name not in metric_names(task.kind):
                raise ValueError(f"{name!r} is not a metric of {task.kind}")
        if task.accept_metric not in task.metrics:
            raise ValueError(f"accept_metric {task.accept_metric!r} is not among its metrics")
        return task

    @model_validator(mode="after")
    def _lengths_fit_the_axis(self) -> Manifest:
        longest = self.axes[self.length_axis].longest if self.length_axis else None
        if self.bench.lengths and self.length_axis is None:
            raise ValueError("bench.lengths: there is no length_axis that they are along")
        if self.bench.lengths and longest and max(self.bench.lengths) > longest:
            raise ValueError(f"bench.lengths: {max(self.bench.lengths)} is more than the {longest} of the axis")
        return self

    @model_validator(mode="after")
    def _built_or_to_build(self) -> Manifest:
        if not self.engines and not any(candidate.side == "efficient" for candidate in self.candidates):
            raise ValueError("it has neither an engine nor a candidate for one")
        folders = [candidate.folder for candidate in self.candidates]
        if len(set(folders)) < len(folders):
            raise ValueError("two candidates have the same folder")
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
