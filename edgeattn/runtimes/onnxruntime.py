"""ONNX Runtime on the CPU. Its engine is only settings: the graph stays where it is in the bundle."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from edgeattn.devices.probe import probe_cpu, usable_threads
from edgeattn.devices.profile import CpuFacts, Name
from edgeattn.errors import BundleError, DeviceError
from edgeattn.jsonfile import COPY_AGAIN, read_json
from edgeattn.manifest import Count, Digest, EngineRef, GraphName, Manifest
from edgeattn.runtimes.base import DEFAULT, Arrays, Configuration, Session
from edgeattn.runtimes.buckets import AXIS, BucketedSession
from edgeattn.runtimes.graphs import check_graph
from edgeattn.store import sha256_file, write_json
from edgeattn.validation import Part

LOG = logging.getLogger("edgeattn")
ENGINE = "engine.json"
PROVIDERS = ["CPUExecutionProvider"]

# ONNX Runtime 1.32's fused SkipLayerNormalization was measured 8 x slower than LayerNormalization and Add on AVX512.
_Optimizer = Literal["SkipLayerNormFusion"]
CONFIGURATIONS = (
    Configuration("default", {}),
    Configuration("no SkipLayerNormFusion", {"disabled_optimizers": ("SkipLayerNormFusion",)}),
)


class Bucket(Part):
    """A copy of the graph with a fixed sequence length."""

    length: Count
    graph: GraphName


class Settings(Part):
    """engine.json."""

    schema_version: Literal[1] = Field(alias="schema")
    runtime: Literal["onnxruntime"]
    version: Annotated[str, Field(pattern=r"^[0-9][0-9A-Za-z.+]{0,63}$")]
    graph: GraphName
    graph_sha256: Digest
    method: Name
    instruction_sets: tuple[Name, ...]
    disabled_optimizers: tuple[_Optimizer, ...] = ()
    buckets: tuple[Bucket, ...] = ()

    @field_validator("buckets")
    @classmethod
    def _ascending(cls, buckets: tuple[Bucket, ...]) -> tuple[Bucket, ...]:
        lengths = [bucket.length for bucket in buckets]
        if lengths != sorted(set(lengths)):
            raise ValueError(f"the lengths {lengths} are not in ascending order")
        return buckets


class OnnxRuntimeSession:
    """A loaded graph."""

    def __init__(self, session: Any, facts: dict[str, Any]) -> None:
        self._session = session
        self._facts = facts
        self._outputs = [output.name for output in session.get_outputs()]

    def run(self, feeds: Arrays) -> Arrays:
        """Outputs by name for inputs by name."""
        return dict(zip(self._outputs, self._session.run(self._outputs, feeds), strict=True))

    def describe(self) -> dict[str, Any]:
        """Version, threads, providers and the optimizers that are off."""
        return dict(self._facts)


class OnnxRuntime:
    """The runtime; see `edgeattn.runtimes.base.Runtime`."""

    name = "onnxruntime"
    operators = frozenset({"com.microsoft::MultiHeadAttention", "com.microsoft::LinearAttention"})

    def version(self) -> str | None:
        """The installed version; None when it is not installed."""
        try:
            import onnxruntime
        except ImportError:
            return None
        return str(onnxruntime.__version__)

    def configurations(self, cpu: CpuFacts | None) -> tuple[Configuration, ...]:
        """With all graph optimizers, and without the one that can be slow."""
        return CONFIGURATIONS

    def build(self, graph: Path, out: Path, *, method: str, configuration: Configuration = DEFAULT) -> dict[str, Any]:
        """Write engine.json: the graph stays where it is."""
        self._require()
        return write_engine(out, default_settings(graph, method).model_copy(update=dict(configuration.settings)))

    def add_buckets(self, engine: Path, graphs: Mapping[int, str]) -> None:
        """Let a built engine use graphs with fixed lengths: length -> file in the bundle's root."""
        buckets = tuple(Bucket(length=length, graph=graph) for length, graph in sorted(graphs.items()))
        write_engine(engine, _read(engine).model_copy(update={"buckets": buckets}))

    def check(self, root: Path, engine: EngineRef, manifest: Manifest) -> None:
        """Raise BundleError unless engine.json, its graphs and the manifest agree, and no graph can do harm."""
        settings = _read(root / engine.path)
        file, files = root / engine.path / ENGINE, manifest.files
        for key, value, expected in (
            ("graph", settings.graph, engine.graph),
            ("method", settings.method, engine.method),
            ("graph_sha256", settings.graph_sha256, files[engine.graph].sha256),
        ):
            if value != expected:
                raise BundleError(f"{key}: {value}; bundle.json says {expected}", where=str(file), fix=COPY_AGAIN)
        graphs = {settings.graph: None, **{bucket.graph: bucket.length for bucket in settings.buckets}}
        for graph, length in graphs.items():
            if graph not in files:
                raise BundleError(f"{graph} is not listed in bundle.json", where=str(file), fix=COPY_AGAIN)
            check_graph(
                root / graph,
                files,
                domains={operator.partition("::")[0] for operator in self.operators},
                inputs=manifest.inputs,
                outputs=manifest.outputs,
                length=length,
            )

    def load(self, root: Path, engine: Path, threads: int | None = None) -> Session:
        """The session of an engine, on the usable cores unless `threads` are given.

        An engine that was tuned elsewhere runs with default settings, and a warning says so.
        """
        version = self._require()
        import onnxruntime

        settings = _read(engine)
        disabled = list(settings.disabled_optimizers)
        tuned_here = (settings.version, settings.instruction_sets) == (version, _instruction_sets())
        if not tuned_here:
            LOG.warning(
                "%s was tuned %s: running with default settings",
                engine.name,
                f"with onnxruntime {settings.version}, this is {version}"
                if settings.version != version
                else "on a processor with other instruction sets",
            )
            disabled = []
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors only
        # Always set: ONNX Runtime's own default counts the machine's cores, not those that a container may use.
        options.intra_op_num_threads = threads or usable_threads()
        options.inter_op_num_threads = 1

        def opened(name: str) -> Any:
            if not (root / name).is_file():
                raise BundleError(f"the engine's graph {name} is missing", where=str(engine), fix=COPY_AGAIN)
            try:
                return onnxruntime.InferenceSession(
                    str(root / name), options, providers=PROVIDERS, disabled_optimizers=disabled or None
                )
            except _refusals() as error:
                raise BundleError(
                    f"onnxruntime {version} cannot load the graph: {str(error).strip().splitlines()[0]}",
                    where=str(root / name),
                    fix=f"compile the bundle again for a target with onnxruntime {version}",
                ) from error

        session = opened(settings.graph)
        facts = {
            "runtime": self.name,
            "runtime_version": version,
            "providers": session.get_providers(),
            "threads": options.intra_op_num_threads,
            "disabled_optimizers": disabled,
            "tuned_here": tuned_here,
        }
        if not settings.buckets:
            return OnnxRuntimeSession(session, facts)
        tensors = [*session.get_inputs(), *session.get_outputs()]
        axes = {tensor.name: tensor.shape.index(AXIS) for tensor in tensors if AXIS in tensor.shape}
        fixed = {bucket.length: OnnxRuntimeSession(opened(bucket.graph), facts) for bucket in settings.buckets}
        return BucketedSession(OnnxRuntimeSession(session, facts), fixed, axes)

    def _require(self) -> str:
        version = self.version()
        if version is None:
            raise DeviceError("onnxruntime is not installed", fix="pip install 'edgeattn[onnxruntime]'")
        return version


RUNTIME = OnnxRuntime()


def default_settings(graph: Path, method: str) -> Settings:
    """The settings of an engine that was not tuned, for this machine."""
    facts = {
        "schema": 1,
        "runtime": RUNTIME.name,
        "version": RUNTIME.version() or "",
        "graph": graph.name,
        "graph_sha256": sha256_file(graph),
        "method": method,
        "instruction_sets": _instruction_sets(),
    }
    return Settings.model_validate(facts)


def _instruction_sets() -> tuple[str, ...]:
    return tuple(sorted(probe_cpu().instruction_sets))


def write_engine(folder: Path, settings: Settings) -> dict[str, Any]:
    """Write engine.json into `folder`; returns its content."""
    document: dict[str, Any] = settings.model_dump(mode="json", by_alias=True)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / ENGINE, document)
    return document


def _read(folder: Path) -> Settings:
    return read_json(folder / ENGINE, Settings, newest=1)


def _refusals() -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises for a graph that it cannot run; not what it raises when memory runs out."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return (state.Fail, state.InvalidArgument, state.InvalidGraph, state.InvalidProtobuf, state.NotImplemented)
