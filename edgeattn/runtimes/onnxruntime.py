"""ONNX Runtime on the CPU. Its engine is only settings: the graph stays where it is in the bundle."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from edgeattn.devices.probe import probe_cpu, usable_threads
from edgeattn.errors import BundleError, DeviceError
from edgeattn.runtimes.base import Arrays, Session
from edgeattn.runtimes.buckets import AXIS, BucketedSession
from edgeattn.scratch import scratch
from edgeattn.store import sha256_file, write_json

LOG = logging.getLogger("edgeattn")
PROVIDERS = ["CPUExecutionProvider"]

# What is tried, the default first. ONNX Runtime 1.32's fused SkipLayerNormalization was measured 8 x slower
# than LayerNormalization and Add on AVX512.
CONFIGURATIONS: tuple[tuple[str, ...], ...] = ((), ("SkipLayerNormFusion",))
# A setting other than the default must be this much faster, or timing noise would choose the engine's digest.
WORTH = 0.05

_Optimizer = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,80}$")]


def _inside(value: str) -> str:
    path = PurePosixPath(value)
    if path.is_absolute() or ".." in path.parts or "\\" in value or not value:
        raise ValueError(f"{value!r} is not a file inside the bundle")
    return value


_File = Annotated[str, AfterValidator(_inside)]


class Bucket(BaseModel):
    """The graph again, with its sequence length fixed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    length: int = Field(ge=1)
    graph: _File


class Trial(BaseModel):
    """One configuration that was timed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    disabled_optimizers: tuple[_Optimizer, ...]
    latency_ms: float


class Settings(BaseModel):
    """engine.json."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = Field(alias="schema")
    runtime: Literal["onnxruntime"]
    version: str
    graph: _File
    graph_sha256: str
    precision: str
    threads: int = Field(ge=1, le=4096)
    instruction_sets: tuple[str, ...]
    disabled_optimizers: tuple[_Optimizer, ...] = ()
    tried: tuple[Trial, ...] = ()
    buckets: tuple[Bucket, ...] = ()


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
        """Version, threads, providers and what was switched off."""
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

    def build(
        self, graph: Path, out: Path, *, precision: str, feeds: Arrays, threads: int | None = None
    ) -> dict[str, Any]:
        """Time the session configurations in fresh processes, interleaved, and write the faster to
        engine.json.
        """
        # Imported here: bench calls runtimes, and only this tuning calls back.
        from edgeattn.bench.compare import quick_compare

        self._require()
        plain = default_settings(graph, precision, threads)
        with scratch("tuning") as folder:
            candidates = {}
            for disabled in CONFIGURATIONS:
                name = "+".join(disabled) or "default"
                write_engine(folder / name, plain.model_copy(update={"disabled_optimizers": disabled}))
                candidates[name] = (folder / name, graph.parent)
            timed = quick_compare(candidates, [feeds], runtime=self.name, threads=threads)
        tried = tuple(
            Trial(disabled_optimizers=disabled, latency_ms=round(statistics.median(latencies), 6))
            for disabled, latencies in zip(CONFIGURATIONS, timed.values(), strict=True)
        )
        fastest = min(tried, key=lambda trial: trial.latency_ms)
        chosen = fastest if fastest.latency_ms < tried[0].latency_ms * (1 - WORTH) else tried[0]
        update = {"disabled_optimizers": chosen.disabled_optimizers, "tried": tried}
        return write_engine(out, plain.model_copy(update=update))

    def add_buckets(self, engine: Path, graphs: Mapping[int, str]) -> None:
        """Lets a built engine use graphs that were fixed at some lengths: length -> file in the bundle's root."""
        buckets = tuple(Bucket(length=length, graph=graph) for length, graph in sorted(graphs.items()))
        write_engine(engine, _read(engine).model_copy(update={"buckets": buckets}))

    def load(self, root: Path, engine: Path, threads: int | None = None) -> Session:
        """The session of an engine. One tuned elsewhere runs with default settings, and a warning says so."""
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
        # Always given: ONNX Runtime's own default counts the machine's cores, not those that a container may
        # use.
        options.intra_op_num_threads = threads or (settings.threads if tuned_here else usable_threads())
        options.inter_op_num_threads = 1

        def opened(name: str) -> Any:
            if not (root / name).is_file():
                raise BundleError(f"the engine's graph {name} is missing", where=str(engine))
            return onnxruntime.InferenceSession(
                str(root / name), options, providers=PROVIDERS, disabled_optimizers=disabled or None
            )

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


def default_settings(graph: Path, precision: str, threads: int | None = None) -> Settings:
    """The settings of an engine that was not tuned, for this machine."""
    facts = {
        "schema": 1,
        "runtime": RUNTIME.name,
        "version": RUNTIME.version() or "",
        "graph": graph.name,
        "graph_sha256": sha256_file(graph),
        "precision": precision,
        "threads": threads or usable_threads(),
        "instruction_sets": _instruction_sets(),
    }
    return Settings.model_validate(facts)


def _instruction_sets() -> tuple[str, ...]:
    return tuple(sorted(probe_cpu().instruction_sets))


def write_engine(folder: Path, settings: Settings) -> dict[str, Any]:
    """Write engine.json into `folder`; returns its content."""
    document: dict[str, Any] = settings.model_dump(mode="json", by_alias=True)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "engine.json", document)
    return document


def _read(folder: Path) -> Settings:
    path = folder / "engine.json"
    try:
        return Settings.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BundleError(f"the engine cannot be read: {error.strerror}", where=str(path)) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "engine.json"
        raise BundleError(f"{place}: {first['msg']}", where=str(path)) from error
