"""The contract of a runtime: it builds engines from graphs, checks those of a bundle, loads them and profiles them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from edgeattn.devices.profile import CpuFacts
    from edgeattn.manifest import EngineRef, Manifest

Arrays = dict[str, NDArray[np.generic]]  # tensor name -> array


@dataclass(frozen=True)
class ShapeRange:
    """The shapes that one input of an engine has: the smallest, the one to be fastest at, and the largest."""

    least: tuple[int, ...]
    usual: tuple[int, ...]
    most: tuple[int, ...]


# The ranges that an engine is built for, each with all inputs by name. Ascending; together they cover all inputs.
ShapeRanges = Sequence[Mapping[str, ShapeRange]]
Report = Callable[[int, int, str], None]  # how far a build is: done, total, of what


@dataclass(frozen=True)
class Memory:
    """What a session takes. None where its runtime, or the device, does not say.

    arena_bytes: that the runtime keeps between inferences for intermediate results. device_bytes: that the process
    has on a device with memory of its own.
    """

    arena_bytes: int | None = None
    device_bytes: int | None = None


class Session(Protocol):
    """A loaded engine."""

    def run(self, feeds: Arrays) -> Arrays:
        """The graph's outputs by name for its inputs by name."""
        ...

    def describe(self) -> dict[str, Any]:
        """JSON facts of how this session runs: version, threads, optimizers that are off.

        nodes_elsewhere: where the runtime can say, the operators that run elsewhere than where they should, such as on
        the processor in place of the GPU.
        """
        ...

    def memory(self, feeds: Arrays) -> Memory:
        """What the session takes once it has run on inputs of this shape. Runs inferences, and may slow the next."""
        ...


@runtime_checkable
class DeviceSession(Session, Protocol):
    """A session on a device with memory of its own, to and from which inputs and outputs are transferred."""

    def without_transfers_ns(self, feeds: Arrays) -> int:
        """Nanoseconds of one inference on the device, whose inputs are there and whose outputs stay there."""
        ...


@runtime_checkable
class KeepingSession(Session, Protocol):
    """A session whose outputs can stay in the runtime, as inputs of its next run.

    A kept tensor is an object of the runtime.
    """

    def run_keeping(
        self, feeds: Arrays, kept: Mapping[str, Any], keep: Sequence[str], in_place: Mapping[str, str]
    ) -> tuple[Arrays, dict[str, Any]]:
        """(outputs, kept outputs) by name, of inputs by name: some as arrays, and some as kept tensors.

        keep: the outputs that stay. in_place: those of them that are written to a kept input -> its name.
        """
        ...

    def memory_of(self, run: Callable[[], object], feeds: Arrays) -> Memory:
        """As `memory`, where an inference is `run`. feeds: of any inference as arrays, after which it is released."""
        ...

    def kept(self, arrays: Arrays) -> dict[str, Any]:
        """Arrays as kept tensors, which may share their memory."""
        ...

    def array(self, kept: Any) -> NDArray[np.generic]:
        """A kept tensor as an array."""
        ...


@dataclass(frozen=True)
class OperatorTime:
    """What one operator of an engine takes in an inference.

    name, kind: in the runtime's words. ms: of an inference, a mean. nodes: of the bundle's graph that it runs, as far
    as the runtime says; an operator may run several, and may be the runtime's own and run none.
    """

    name: str
    kind: str
    ms: float
    nodes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Profile:
    """Where the time of an engine goes at one size of its inputs, by the runtime's own profiler.

    method: the profiler, for reports. graph: the file of the bundle whose nodes the operators name.
    operators: in the order in which they run. inference_ms: of a whole inference meanwhile; the profiler slows it down.
    """

    method: str
    graph: str
    operators: tuple[OperatorTime, ...]
    inference_ms: float


@dataclass(frozen=True)
class Configuration:
    """Session settings of a runtime that `build` times.

    name: for reports. settings: as JSON, known to the runtime.
    least_cosine: that its outputs have with those of the graph as it stands; None: it computes what the graph says.
    """

    name: str
    settings: Mapping[str, Any]
    least_cosine: float | None = None


DEFAULT = Configuration("default", {})


class Runtime(Protocol):
    """A library that runs graphs. Its native code runs in a `worker` wherever its input is not our own."""

    name: str
    extra: str  # of edgeattn, that installs it
    operators: frozenset[str]  # fused ones beyond standard ONNX that its graphs may hold, as "domain::Name"
    caveat: str | None  # what its users have to know
    compiles: bool  # whether building takes minutes and its result is kept for this machine, graph and configuration

    def version(self) -> str | None:
        """The installed version, without importing the library; None when it is not installed."""
        ...

    def require(self) -> str:
        """Import the library, whose time and memory are not those of an engine; returns its version.

        Raises DeviceError where it is missing or cannot be imported.
        """
        ...

    def configurations(self, cpu: CpuFacts | None) -> tuple[Configuration, ...]:
        """The session settings worth timing on a device with this processor, the default first."""
        ...

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
        """Write the engine of `graph` into the folder `out`: engine.json and whatever else it needs.

        graph: a file of the bundle, that lies directly in the folder which is `root` for `load`.
        method: of its quantization.
        For a runtime that compiles: shapes: what it builds for; empty: the sizes that the graph has. cache: a folder
        of this machine that builds share. report: told how far it is.
        Returns the content of engine.json. Raises DeviceError when the runtime is missing, BundleError for a graph
        that it cannot build.
        """
        ...

    def add_buckets(self, engine: Path, graphs: Mapping[int, str]) -> None:
        """Let the built engine in the folder `engine` use copies of its graph with fixed lengths, where an input fits.

        graphs: length -> file directly in the bundle's root.
        """
        ...

    def check(self, root: Path, engine: EngineRef, manifest: Manifest) -> None:
        """Raise BundleError unless the engine, and every file that it uses, is what the manifest says and harmless.

        Called when the bundle at `root` is opened, after the digests were checked and before native code sees a file.
        """
        ...

    def load(self, root: Path, engine: Path, threads: int | None = None) -> Session:
        """The session of the engine folder `engine` in the bundle at `root`.

        Raises BundleError for an engine that cannot be read, DeviceError for one that cannot run here.
        """
        ...

    def profile(
        self, root: Path, engine: Path, feeds: Arrays, *, inferences: int, threads: int | None = None
    ) -> Profile | None:
        """Time each operator of an engine by the library's own profiler, in a session that is only for that.

        feeds: inputs by name, the same for all inferences. None where the runtime cannot say. Raises as `load` does.
        """
        ...
