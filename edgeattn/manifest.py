"""bundle.json: what a bundle says of itself."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from edgeattn.errors import BundleError
from edgeattn.validation import Part

SCHEMA_VERSION = 1
MANIFEST = "bundle.json"
COPY_AGAIN = "copy the bundle again, or compile it again"

_MANIFEST_LIMIT_BYTES = 16 * 1024 * 1024


class TensorSpec(Part):
    """An input or output of both graphs. Dimensions are sizes or names: "batch", "sequence"."""

    name: str
    dtype: str
    dims: tuple[int | str, ...]


class EngineRef(Part):
    """An engine and the graph that it was built from, both relative to the bundle."""

    runtime: str
    path: str
    graph: str
    precision: str


class Metric(Part):
    """A metric of `edgeattn.metrics`."""

    name: str
    higher_is_better: bool


class TaskSpec(Part):
    """How outputs are scored, and the share of the teacher's value that accept_metric must keep."""

    kind: str
    metrics: tuple[Metric, ...]
    accept_metric: str
    accept_of_teacher: float


class BenchSpec(Part):
    """What is timed: lengths in tokens, None for models without a sequence."""

    lengths: tuple[int, ...] | None
    batch_size: int
    pairs: int


class FileEntry(Part):
    """A file as it was written."""

    sha256: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(ge=0)]


class Manifest(Part):
    """bundle.json. `write` fills in files."""

    schema_version: Literal[1] = 1
    name: str
    description: str
    created_utc: str
    recipe: dict[str, Any]
    plan: list[dict[str, Any]]
    target: dict[str, Any]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    task: TaskSpec
    bench: BenchSpec
    engines: dict[str, EngineRef]
    provenance: dict[str, str]
    libraries: dict[str, str]
    choice: dict[str, Any]
    files: dict[str, FileEntry] = Field(default_factory=dict)


def read_manifest(path: Path) -> Manifest:
    """The manifest of the bundle in the folder `path`. Raises BundleError; if newer, with both versions."""
    file = path / MANIFEST
    where = str(file)
    try:
        status = file.lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MANIFEST_LIMIT_BYTES:
            raise BundleError("is no manifest of a bundle", where=where, fix=COPY_AGAIN)
        text = file.read_text(encoding="utf-8")
        document = json.loads(text, parse_constant=_refuse_constant)
        version = document["schema_version"]
    except OSError as error:
        raise BundleError(
            f"cannot be read as a bundle: {error.strerror}", where=where, fix="name the folder that holds it"
        ) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BundleError(f"is no manifest of a bundle: {error!r}", where=where, fix=COPY_AGAIN) from error
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise BundleError(
            f"has schema version {version}; this edgeattn reads version {SCHEMA_VERSION}",
            where=where,
            fix="upgrade edgeattn: pip install --upgrade edgeattn",
        )
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise BundleError(f"{place}: {first['msg']}", where=where, fix=COPY_AGAIN) from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
