"""ONNX Runtime on the CPU, and on an NVIDIA GPU where its package has the CUDA provider. Its engine is only settings:
the graph stays where it is in the bundle.

Its TensorRT provider is not tried: it compiles the graph for minutes in every process, or keeps compiled code that
nothing checks. The runtime `tensorrt` compiles once. The CUDA provider has not been run on hardware yet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgeattn.devices.nvml import gpu_bytes
from edgeattn.devices.profile import CpuFacts
from edgeattn.errors import DeviceError
from edgeattn.runtimes.arena import held_bytes
from edgeattn.runtimes.base import Arrays, Configuration, Memory, Profile, Session
from edgeattn.runtimes.graph_engine import GraphEngine, GraphRuntime, refused
from edgeattn.runtimes.onnxruntime_trace import traced_profile

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"

# ONNX Runtime 1.32's fused SkipLayerNormalization was measured 8 x slower than LayerNormalization and Add on AVX512.
_Optimizer = Literal["SkipLayerNormFusion"]
CONFIGURATIONS = (
    Configuration("default", {}),
    Configuration("no SkipLayerNormFusion", {"disabled_optimizers": ("SkipLayerNormFusion",)}),
)
ON_CUDA = Configuration("cuda", {"provider": CUDA})


class Settings(GraphEngine):
    """engine.json."""

    runtime: Literal["onnxruntime"]
    disabled_optimizers: tuple[_Optimizer, ...] = ()
    provider: Literal["CPUExecutionProvider", "CUDAExecutionProvider"] = "CPUExecutionProvider"


class OnnxRuntimeSession:
    """A loaded graph."""

    def __init__(self, session: Any, facts: dict[str, Any]) -> None:
        self._session = session
        self._facts = facts
        self._outputs = [output.name for output in session.get_outputs()]

    def run(self, feeds: Arrays) -> Arrays:
        """Outputs by name for inputs by name."""
        return dict(zip(self._outputs, self._session.run(self._outputs, feeds), strict=True))

    def run_keeping(
        self, feeds: Arrays, kept: Mapping[str, Any], keep: Sequence[str], in_place: Mapping[str, str]
    ) -> tuple[Arrays, dict[str, Any]]:
        """See `KeepingSession`."""
        binding = self._session.io_binding()
        for name, value in {**self.kept(feeds), **kept}.items():
            binding.bind_ortvalue_input(name, value)
        for name in self._outputs:
            if name in in_place:
                binding.bind_ortvalue_output(name, kept[in_place[name]])
            else:
                binding.bind_output(name)
        self._session.run_with_iobinding(binding)
        found = dict(zip(self._outputs, binding.get_outputs(), strict=True))
        stay = {name: kept[in_place[name]] if name in in_place else found.pop(name) for name in keep}
        return {name: value.numpy() for name, value in found.items() if name not in stay}, stay

    def kept(self, arrays: Arrays) -> dict[str, Any]:
        """See `KeepingSession`. On a CPU, they are not copied."""
        from onnxruntime import OrtValue

        return {name: OrtValue.ortvalue_from_numpy(array) for name, array in arrays.items()}

    def array(self, kept: Any) -> NDArray[np.generic]:
        """See `KeepingSession`."""
        return kept.numpy()  # type: ignore[no-any-return]

    def memory(self, feeds: Arrays) -> Memory:
        """On the CPU, its arena for activations; the weights are apart. On a GPU, what the process has there."""
        return self.memory_of(lambda: self.run(feeds), feeds)

    def memory_of(self, run: Callable[[], object], feeds: Arrays) -> Memory:
        """See `KeepingSession`."""
        import onnxruntime

        if self._session.get_providers()[0] != CPU:
            return Memory(device_bytes=gpu_bytes())
        shrinking = onnxruntime.RunOptions()
        shrinking.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        return Memory(held_bytes(run, lambda: self._session.run(self._outputs, feeds, shrinking)))

    def describe(self) -> dict[str, Any]:
        """Version, threads, providers and the optimizers that are off."""
        return dict(self._facts)


class OnnxRuntime(GraphRuntime[Settings]):
    """The runtime; see `edgeattn.runtimes.base.Runtime`."""

    name = "onnxruntime"
    operators = frozenset(
        {"com.microsoft::MultiHeadAttention", "com.microsoft::LinearAttention", "com.microsoft::MatMulNBits"}
    )
    settings = Settings

    def configurations(self, cpu: CpuFacts | None) -> tuple[Configuration, ...]:
        """With all graph optimizers, and without the one that can be slow; and on the GPU."""
        import onnxruntime

        return (*CONFIGURATIONS, *([ON_CUDA] if CUDA in onnxruntime.get_available_providers() else []))

    def open(self, graph: Path, engine: Settings, threads: int, facts: dict[str, Any]) -> Session:
        """The session of one graph."""
        session = self._session(graph, engine, threads)
        own = {
            "providers": session.get_providers(),
            "nodes_elsewhere": _nodes_elsewhere(session, engine.provider),
            "threads": threads,
            "disabled_optimizers": list(engine.disabled_optimizers),
        }
        return OnnxRuntimeSession(session, {**facts, **own})

    def profile_graph(
        self, graph: Path, engine: Settings, threads: int, facts: dict[str, Any], feeds: Arrays, inferences: int
    ) -> Profile | None:
        """By ONNX Runtime's trace. None on a GPU, of whose kernels the trace has only the starts."""
        if engine.provider != CPU:
            return None
        return traced_profile(graph, feeds, inferences, lambda more: self._session(graph, engine, threads, more))

    def _session(
        self, graph: Path, engine: Settings, threads: int, more: Callable[[Any], None] = lambda options: None
    ) -> Any:
        """ONNX Runtime's session. more: sets more of its options."""
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as state

        # CUDA's operators are not all of ONNX Runtime's: the CPU runs the rest.
        providers = list(dict.fromkeys((engine.provider, CPU)))
        disabled = list(engine.disabled_optimizers)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors only
        # Always set: ONNX Runtime's own default counts the machine's cores, not those that a container may use.
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        more(options)
        try:
            session = onnxruntime.InferenceSession(
                str(graph), options, providers=providers, disabled_optimizers=disabled or None
            )
        # What it raises for a graph that it cannot run; not what it raises when memory runs out.
        except (
            state.Fail, state.InvalidArgument, state.InvalidGraph, state.InvalidProtobuf, state.NotImplemented
        ) as error:  # fmt: skip
            raise refused(self.name, onnxruntime.__version__, graph, str(error).strip().splitlines()[0]) from error
        if engine.provider not in session.get_providers():
            raise DeviceError(
                f"this onnxruntime {onnxruntime.__version__} cannot run the engine on {engine.provider}",
                where=str(graph),
                fix="install an onnxruntime-gpu for this machine's CUDA, or build the bundle again without one",
            )
        return session


def _nodes_elsewhere(session: Any, provider: str) -> int | None:
    """Nodes that another provider runs, such as the CPU for the GPU; None where an older one cannot say."""
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return None
    parts = session.get_provider_graph_assignment_info()
    return sum(len(part.get_nodes()) for part in parts if part.ep_name != provider)


RUNTIME = OnnxRuntime()
