"""engine.json: what every engine says of itself, and how it is held against the bundle's manifest."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field

from edgeattn.devices.profile import Name
from edgeattn.errors import BundleError
from edgeattn.jsonfile import COPY_AGAIN, read_json
from edgeattn.manifest import Digest, EngineRef, GraphName, Manifest
from edgeattn.runtimes.graphs import check_graph
from edgeattn.store import write_json
from edgeattn.validation import Part

ENGINE = "engine.json"


class EngineFile(Part):
    """What engine.json holds at the least: the graph that the engine is of, and the runtime that it was made with."""

    schema_version: Literal[1] = Field(alias="schema")
    runtime: Name
    version: Annotated[str, Field(pattern=r"^[0-9][0-9A-Za-z.+]{0,63}$")]
    graph: GraphName
    graph_sha256: Digest
    method: Name


E = TypeVar("E", bound=EngineFile)


def read_engine(folder: Path, kind: type[E]) -> E:
    """engine.json of an engine folder. Raises BundleError."""
    return read_json(folder / ENGINE, kind, newest=1)


def write_engine(folder: Path, engine: EngineFile) -> dict[str, Any]:
    """Write engine.json; returns its content."""
    document: dict[str, Any] = engine.model_dump(mode="json", by_alias=True)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / ENGINE, document)
    return document


def check_engine(
    root: Path,
    reference: EngineRef,
    engine: EngineFile,
    manifest: Manifest,
    graphs: Mapping[str, int | None],
    operators: Collection[str],
) -> None:
    """Raise BundleError unless an engine and the manifest agree, and none of its graphs can do harm.

    graphs: file directly in the bundle -> its fixed length, None for any. operators: fused ones of the runtime.
    """
    file, files = root / reference.path / ENGINE, manifest.files
    for key, value, expected in (
        ("graph", engine.graph, reference.graph),
        ("method", engine.method, reference.method),
        ("graph_sha256", engine.graph_sha256, files[reference.graph].sha256),
    ):
        if value != expected:
            raise BundleError(f"{key}: {value}; bundle.json says {expected}", where=str(file), fix=COPY_AGAIN)
    for graph, length in graphs.items():
        if graph not in files:
            raise BundleError(f"{graph} is not listed in bundle.json", where=str(file), fix=COPY_AGAIN)
        check_graph(
            root / graph,
            files,
            domains={operator.partition("::")[0] for operator in operators},
            inputs=manifest.inputs,
            outputs=manifest.outputs,
            sizes={manifest.length_axis: length} if manifest.length_axis and length else {},
        )
