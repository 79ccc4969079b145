"""What runtimes share that run the bundle's own ONNX graphs.

Their engine is a folder with engine.json, which names the graphs and the settings to run them with. A runtime is a
`GraphRuntime` with its own subclass of `GraphEngine`, whose fields beyond those of `GraphEngine` are the settings that
configurations choose: each has a default that is right on any machine.
"""

from __future__ import annotations

import importlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import field_validator

from edgeattn.devices.probe import probe_cpu, usable_threads
from edgeattn.devices.profile import CpuFacts, Name
from edgeattn.errors import BundleError, DeviceError
from edgeattn.jsonfile import COPY_AGAIN
from edgeattn.manifest import Bucket, EngineRef, Manifest
from edgeattn.runtimes.base import DEFAULT, Arrays, Configuration, Profile, Report, Session, ShapeRanges
from edgeattn.runtimes.buckets import BucketedSession, bucketed_axes, fitting, padded
from edgeattn.runtimes.engine_file import EngineFile, check_engine, read_engine, write_engine
from edgeattn.runtimes.graphs import tensor_dims
from edgeattn.store import sha256_file
from edgeattn.versions import library_version

LOG = logging.getLogger("edgeattn")


class GraphEngine(EngineFile):
    """engine.json: the engine's graphs, and the processor that its settings were chosen for."""

    instruction_sets: tuple[Name, ...]
    buckets: tuple[Bucket, ...] = ()

    @field_validator("buckets")
    @classmethod
    def _ascending(cls, buckets: tuple[Bucket, ...]) -> tuple[Bucket, ...]:
        lengths = [bucket.length for bucket in buckets]
        if lengths != sorted(set(lengths)):
            raise ValueError(f"the lengths {lengths} are not in ascending order")
        return buckets


E = TypeVar("E", bound=GraphEngine)


class GraphRuntime(ABC, Generic[E]):
    """A runtime of engines that are a `GraphEngine`; see `edgeattn.runtimes.base.Runtime`."""

    name: ClassVar[str]  # also of its Python module, its package and the extra that installs it
    operators: ClassVar[frozenset[str]] = frozenset()
    caveat: ClassVar[str | None] = None
    compiles: ClassVar[bool] = False
    settings: type[E]

    @property
    def extra(self) -> str:
        """Of edgeattn, that installs it."""
        return self.name

    @abstractmethod
    def configurations(self, cpu: CpuFacts | None) -> tuple[Configuration, ...]:
        """The settings worth timing on this processor, the default first."""

    @abstractmethod
    def open(self, graph: Path, engine: E, threads: int, facts: dict[str, Any]) -> Session:
        """The session of one of the engine's graphs, which describes itself with `facts` and its own.

        Raises BundleError for a graph that the runtime cannot run.
        """

    @abstractmethod
    def profile_graph(
        self, graph: Path, engine: E, threads: int, facts: dict[str, Any], feeds: Arrays, inferences: int
    ) -> Profile | None:
        """Time each operator of one of the engine's graphs; see `edgeattn.runtimes.base.Runtime.profile`."""

    def version(self) -> str | None:
        """The installed version; None when it is not installed. The library is only imported if it has no metadata."""
        return library_version(self.name)

    def require(self) -> str:
        """Import the library; returns its version."""
        version = self.version()
        if version is None:
            raise DeviceError(f"{self.name} is not installed", fix=f"pip install 'edgeattn[{self.name}]'")
        try:
            importlib.import_module(self.name)
        except ImportError as error:
            raise DeviceError(
                f"{self.name} {version} cannot be imported: {error}",
                fix=f"install what it misses, or install it again: pip install --force-reinstall {self.name}",
            ) from error
        return version

    def build(
        self,
        graph: Path,
        out: Path,
        *,
        method: str,
        configuration: Configuration = DEFAULT,
        shapes: ShapeRanges = (),
        cache: Path | None = None,
        report: Report | None = None,
    ) -> dict[str, Any]:
        """Write engine.json: the graph stays where it is."""
        facts = {
            "schema": 1,
            "runtime": self.name,
            "version": self.require(),
            "graph": graph.name,
            "graph_sha256": sha256_file(graph),
            "method": method,
            "instruction_sets": _instruction_sets(),
        }
        return write_engine(out, self.settings.model_validate({**facts, **configuration.settings}))

    def add_buckets(self, engine: Path, graphs: Mapping[int, str]) -> None:
        """Let a built engine use graphs with fixed lengths: length -> file in the bundle's root."""
        buckets = tuple(Bucket(length=length, graph=graph) for length, graph in sorted(graphs.items()))
        write_engine(engine, read_engine(engine, self.settings).model_copy(update={"buckets": buckets}))

    def check(self, root: Path, engine: EngineRef, manifest: Manifest) -> None:
        """Raise BundleError unless engine.json, its graphs and the manifest agree, and no graph can do harm."""
        settings = read_engine(root / engine.path, self.settings)
        graphs = {settings.graph: None, **{bucket.graph: bucket.length for bucket in settings.buckets}}
        check_engine(root, engine, settings, manifest, graphs, self.operators)

    def load(self, root: Path, engine: Path, threads: int | None = None) -> Session:
        """The session of an engine, on the usable cores unless `threads` are given.

        An engine that was tuned elsewhere runs with default settings, and a warning says so.
        """
        settings, facts = self._settings_here(engine)

        def opened(name: str) -> Session:
            return self.open(_graph(root, name, engine), settings, threads or usable_threads(), facts)

        session = opened(settings.graph)
        if not settings.buckets:
            return session
        fixed = {bucket.length: opened(bucket.graph) for bucket in settings.buckets}
        return BucketedSession(session, fixed, _axes(root, settings))

    def profile(
        self, root: Path, engine: Path, feeds: Arrays, *, inferences: int, threads: int | None = None
    ) -> Profile | None:
        """Time each operator of the graph that runs these inputs."""
        settings, facts = self._settings_here(engine)
        name = settings.graph
        if settings.buckets:
            graphs, axes = {bucket.length: bucket.graph for bucket in settings.buckets}, _axes(root, settings)
            bucket = fitting(feeds, graphs, axes)
            if bucket is not None:
                name, feeds = graphs[bucket], padded(feeds, bucket, axes)
        graph = _graph(root, name, engine)
        return self.profile_graph(graph, settings, threads or usable_threads(), facts, feeds, inferences)

    def _settings_here(self, engine: Path) -> tuple[E, dict[str, Any]]:
        """The settings to run an engine with on this machine, and facts about them."""
        settings = read_engine(engine, self.settings)
        version = self.require()
        tuned_here = (settings.version, settings.instruction_sets) == (version, _instruction_sets())
        if not tuned_here:
            LOG.warning(
                "%s was tuned %s: running with default settings",
                engine.name,
                f"with {self.name} {settings.version}, this is {version}"
                if settings.version != version
                else "on a processor with other instruction sets",
            )
            chosen = [name for name in self.settings.model_fields if name not in GraphEngine.model_fields]
            defaults = {name: self.settings.model_fields[name].default for name in chosen}
            settings = settings.model_copy(update=defaults)
        return settings, {"runtime": self.name, "runtime_version": version, "tuned_here": tuned_here}


def _graph(root: Path, name: str, engine: Path) -> Path:
    if not (root / name).is_file():
        raise BundleError(f"the engine's graph {name} is missing", where=str(engine), fix=COPY_AGAIN)
    return root / name


def _axes(root: Path, settings: GraphEngine) -> dict[str, int]:
    """The dimensions that buckets fix."""
    return bucketed_axes(tensor_dims(root / settings.graph), tensor_dims(root / settings.buckets[0].graph))


def refused(runtime: str, version: str, graph: Path, reason: str) -> BundleError:
    """The error for a graph that a runtime cannot run."""
    return BundleError(
        f"{runtime} {version} cannot load the graph: {reason}",
        where=str(graph),
        fix=f"compile the bundle again for a target with {runtime} {version}",
    )


def _instruction_sets() -> tuple[str, ...]:
    return tuple(sorted(probe_cpu().instruction_sets))
