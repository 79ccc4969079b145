"""TensorRT and TensorRT for RTX as runtimes: engines are built for the GPU that runs them, and for nothing else.

Building was run here, by TensorRT for RTX on a machine without a GPU. What needs a GPU, so TensorRT's own builds and
every inference, is written against the documented interface and not run on hardware yet.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from packaging.version import Version

from edgeattn.devices.board import board_facts
from edgeattn.devices.profile import CpuFacts
from edgeattn.devices.root import system_root
from edgeattn.errors import BundleError, DeviceError, ResourceError
from edgeattn.jsonfile import COPY_AGAIN
from edgeattn.manifest import EngineRef, Manifest
from edgeattn.runtimes.base import (
    DEFAULT,
    Arrays,
    Configuration,
    Profile,
    Report,
    Runtime,
    Session,
    ShapeRanges,
)
from edgeattn.runtimes.engine_file import ENGINE, check_engine, read_engine, write_engine
from edgeattn.runtimes.nodes import read_nodes
from edgeattn.runtimes.tensorrt_family.deserialize import Loaded, deserialize
from edgeattn.runtimes.tensorrt_family.engine import LAYERS, PLAN, PlanEngine, ranges_as_parts
from edgeattn.runtimes.tensorrt_family.gpu import gpu_here, require_gpu
from edgeattn.runtimes.tensorrt_family.layers import layer_times, layers_of
from edgeattn.runtimes.tensorrt_family.library import RTX, TENSORRT, Library
from edgeattn.runtimes.tensorrt_family.memory import workspace_bytes
from edgeattn.runtimes.tensorrt_family.operators import operators_of
from edgeattn.runtimes.tensorrt_family.session import PlanSession
from edgeattn.store import sha256_file
from edgeattn.worker import call

NOT_RUN = "its engines have not been run on hardware by edgeattn's authors yet"
BUILD_AGAIN = "run `edgeattn build` again on this machine, with the bundle as it was before it was built"
_TIMEOUT_S = 3600.0  # an Orin Nano times thousands of kernels
_LESS = 1 / 4  # of the workspace, once a build was killed for memory
# Versions with the builder's flag FP16, for weakly typed networks: deprecated in 10.12, removed in 11. Before 9 no
# network is strongly typed, so that the flag is set where the graph has fp16.
_CHOICE = (Version("9"), Version("11"))
# As OpenVINO's bf16: this only detects another function.
FP16 = Configuration("fp16 flag", {"typing": "fp16"}, least_cosine=0.97)


class PlanRuntime:
    """The runtime of one of the two libraries; see `edgeattn.runtimes.base.Runtime`."""

    operators: frozenset[str] = frozenset()
    caveat: str | None = NOT_RUN
    compiles = True

    def __init__(self, library: Library) -> None:
        self.library = library
        self.name, self.extra = library.name, library.extra

    def version(self) -> str | None:
        """The installed version, without importing the library."""
        return self.library.version()

    def require(self) -> str:
        """Import the library; returns its version."""
        return self.library.require()

    def configurations(self, cpu: CpuFacts | None) -> tuple[Configuration, ...]:
        """With the types of the graph; and, where TensorRT lets one choose, with fp16 wherever it is faster."""
        version = self.version()
        chooses = self.library is TENSORRT and version and _CHOICE[0] <= Version(version) < _CHOICE[1]
        return (DEFAULT, FP16) if chooses else (DEFAULT,)

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
        """Build the plan in a worker, for this machine's GPU.

        TensorRT for RTX builds for another GPU, on any machine, by the setting {"sm": "8.6"}.
        """
        version, gpu = self.require(), gpu_here()
        elsewhere = configuration.settings.get("sm") if self.library is RTX else None
        sm = elsewhere or require_gpu(f"{self.library.title} {version}").sm
        if not self.library.builds_for(sm):
            raise DeviceError(
                f"{self.library.title} {version} builds for no GPU of compute capability {sm}",
                fix="use a newer version of it, or the runtime tensorrt",
            )
        settings = {
            "schema": 1,
            "runtime": self.name,
            "version": version,
            "graph": graph.name,
            "graph_sha256": sha256_file(graph),
            "method": method,
            "l4t": _l4t(),
            "shapes": ranges_as_parts(shapes),
            "workspace_bytes": workspace_bytes(gpu),
            **configuration.settings,
            "sm": sm,
        }
        engine = PlanEngine.model_validate(settings)
        try:
            return self._built(engine, graph, out, cache, report)
        except ResourceError as error:
            if engine.workspace_bytes is None or "memory" not in error.fact:
                raise self._with_remedy(error) from error
        less = engine.model_copy(update={"workspace_bytes": int(engine.workspace_bytes * _LESS)})
        try:
            return self._built(less, graph, out, cache, report)
        except ResourceError as error:
            raise self._with_remedy(error) from error

    def _built(
        self, engine: PlanEngine, graph: Path, out: Path, cache: Path | None, report: Report | None
    ) -> dict[str, Any]:
        document = write_engine(out, engine)
        timings = f"{self.name}-{engine.version}-{engine.sm}.timings" if self.library is TENSORRT else None
        call(
            "edgeattn.runtimes.tensorrt_family.building:built",
            {
                "out": str(out),
                "graph": str(graph),
                "timing_cache": str(cache / timings) if cache and timings else None,
            },
            stage=f"build, {self.name}", timeout_s=_TIMEOUT_S, progress=report,
        )  # fmt: skip
        return document

    def _with_remedy(self, error: ResourceError) -> ResourceError:
        if "memory" not in error.fact:
            return error
        return ResourceError(
            error.fact,
            where=error.where,
            fix="close other programs and the desktop (sudo systemctl isolate multi-user.target), add swap on a fast "
            "disk, or compile again with a smaller bench.batch_size or shorter bench.lengths",
        )

    def add_buckets(self, engine: Path, graphs: Mapping[int, str]) -> None:
        """Nothing: an optimization profile for each of its lengths does what a graph of a fixed length does."""

    def check(self, root: Path, engine: EngineRef, manifest: Manifest) -> None:
        """Raise BundleError unless engine.json, the plan, the graph and the manifest agree."""
        found = read_engine(root / engine.path, PlanEngine)
        if found.runtime != self.name:
            fact = f"runtime: {found.runtime}; bundle.json says {self.name}"
            raise BundleError(fact, where=str(root / engine.path / ENGINE), fix=COPY_AGAIN)
        for file in (PLAN, LAYERS):
            if f"{engine.path}/{file}" not in manifest.files:
                raise BundleError(f"{engine.path}/{file} is not listed in bundle.json", where=str(root), fix=COPY_AGAIN)
        check_engine(root, engine, found, manifest, {found.graph: None}, self.operators)

    def load(self, root: Path, engine: Path, threads: int | None = None) -> Session:
        """The session of an engine on this machine's GPU.

        Raises DeviceError for an engine of another TensorRT, GPU or L4T release, before its plan is read.
        """
        found, loaded, facts = self._loaded(engine)
        return PlanSession(loaded, found.ranges, facts)

    def profile(
        self, root: Path, engine: Path, feeds: Arrays, *, inferences: int, threads: int | None = None
    ) -> Profile | None:
        """By TensorRT's profiler, which needs the layers one by one: without CUDA graphs."""
        found, loaded, facts = self._loaded(engine)
        session = PlanSession(loaded, found.ranges, facts, cuda_graphs=False)
        session.run(feeds)
        begun = time.perf_counter()
        times = layer_times(loaded.trt, session, feeds, inferences)
        inference_ms = (time.perf_counter() - begun) / inferences * 1e3
        operators = operators_of(times, layers_of(loaded), read_nodes(root / found.graph))
        method = f"the profiler of {self.library.title}"
        return Profile(method, found.graph, tuple(operators), inference_ms)

    def _loaded(self, engine: Path) -> tuple[PlanEngine, Loaded, dict[str, Any]]:
        """What engine.json says, the engine, and facts about it."""
        found = read_engine(engine, PlanEngine)
        version = self.require()
        _require_same(f"{self.library.title}", found.version, version, engine)
        gpu = require_gpu(f"the engine {engine.name}, built by {self.library.title},")
        _require_same("a GPU of compute capability", found.sm, gpu.sm, engine)
        _require_same("L4T", found.l4t, _l4t(), engine)
        try:
            content = (engine / PLAN).read_bytes()
        except OSError as error:
            fact = f"the engine's {PLAN} cannot be read: {error.strerror}"
            raise BundleError(fact, where=str(engine), fix=COPY_AGAIN) from error
        facts = {
            "runtime": self.name,
            "runtime_version": version,
            "tuned_here": True,
            "gpu": gpu.name,
            "sm": found.sm,
            "l4t": found.l4t,
            "typing": found.typing,
            "profiles": len(found.shapes),
            "note": NOT_RUN,
        }
        return found, deserialize(self.library, content, str(engine / PLAN)), facts


def _l4t() -> str | None:
    return board_facts(system_root()).l4t


def _require_same(what: str, built: str | None, here: str | None, engine: Path) -> None:
    if built != here:
        raise DeviceError(
            f"the engine was built for {what} {built or 'none'}, this machine has {here or 'none'}",
            where=str(engine),
            fix=BUILD_AGAIN,
        )


TENSORRT_RUNTIME: Runtime = PlanRuntime(TENSORRT)
RTX_RUNTIME: Runtime = PlanRuntime(RTX)
