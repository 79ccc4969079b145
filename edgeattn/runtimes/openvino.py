"""OpenVINO on the CPU, of x86 and Arm. It reads the bundle's own ONNX graphs.

Its compiled models are not kept in the bundle. Loading one instead of MiniLM's graph took 0.1 s instead of 0.25 s
(fp32) or 0.6 s (int8), but it has 87 or 58 MB beside graphs of 87 and 23 MB, and cannot be checked before native code
reads it: one with a flipped byte loads and runs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from edgeattn.devices.profile import CpuFacts
from edgeattn.errors import DeviceError
from edgeattn.runtimes.arena import held_bytes
from edgeattn.runtimes.base import DEFAULT, Arrays, Configuration, Memory, Profile, Session
from edgeattn.runtimes.graph_engine import GraphEngine, GraphRuntime, refused
from edgeattn.runtimes.graphs import output_names
from edgeattn.runtimes.openvino_counters import counted_profile

DEVICE = "CPU"

# The precision of operations in floating point; outputs keep the graph's. With bf16, MiniLM's fp32 graphs were 1.6 to
# 1.7 x faster than with f32, its dense int8 graph 1.05 x at 128 tokens and 1.17 x at 512, its linear int8 graph not.
# Without dynamic quantization, and with denormals as zeros, nothing was faster.
_Precision = Literal["f32", "bf16", "f16"]
_NEEDS = {"bf16": {"avx512_bf16", "amx_bf16"}, "f16": {"asimdhp"}}  # one of these instruction sets
# bf16 was measured at 0.9999 for single layers of each variant, and at 0.983 for block_topk, which chooses other
# blocks; MiniLM's sentences had 0.9999. This only detects another function.
_LEAST_COSINE = {"bf16": 0.97, "f16": 0.97}
_ALLOCATION = re.compile(r"bad_?alloc|out of memory|not enough memory|(cannot|failed to) allocate", re.IGNORECASE)


class Settings(GraphEngine):
    """engine.json."""

    runtime: Literal["openvino"]
    precision: _Precision = "f32"


class OpenVinoSession:
    """A compiled graph."""

    def __init__(self, request: Any, outputs: Sequence[str], facts: dict[str, Any]) -> None:
        """outputs: the names of the request's outputs, in its order."""
        self._request = request
        self._inputs = {tensor.get_any_name() for tensor in request.model_inputs}
        self._outputs = outputs
        self._facts = facts

    def run(self, feeds: Arrays) -> Arrays:
        """Outputs by name for inputs by name."""
        if feeds.keys() != self._inputs:  # OpenVINO would run with what an input had last
            raise ValueError(f"inputs {sorted(feeds)} are given; the graph has {sorted(self._inputs)}")
        found = self._request.infer(feeds, share_inputs=True)
        return {name: found[place] for place, name in enumerate(self._outputs)}

    def memory(self, feeds: Arrays) -> Memory:
        """What the compiled model has for intermediate results; the weights are apart."""
        return Memory(held_bytes(lambda: self.run(feeds), self._request.get_compiled_model().release_memory))

    def describe(self) -> dict[str, Any]:
        """Version, threads and precision."""
        return dict(self._facts)


class OpenVino(GraphRuntime[Settings]):
    """The runtime; see `edgeattn.runtimes.base.Runtime`."""

    name = "openvino"
    settings = Settings

    def configurations(self, cpu: CpuFacts | None) -> tuple[Configuration, ...]:
        """In fp32, and in each shorter precision that the processor computes in."""
        have = set(cpu.instruction_sets) if cpu else set()
        return (
            DEFAULT,
            *(
                Configuration(precision, {"precision": precision}, _LEAST_COSINE[precision])
                for precision, needs in _NEEDS.items()
                if needs & have
            ),
        )

    def open(self, graph: Path, engine: Settings, threads: int, facts: dict[str, Any]) -> Session:
        """The session of one graph."""
        compiled = self._compiled(graph, engine, threads, facts)
        own = {"threads": compiled.get_property("INFERENCE_NUM_THREADS"), "precision": engine.precision}
        return OpenVinoSession(compiled.create_infer_request(), output_names(graph), {**facts, **own})

    def profile_graph(
        self, graph: Path, engine: Settings, threads: int, facts: dict[str, Any], feeds: Arrays, inferences: int
    ) -> Profile | None:
        """By OpenVINO's performance counters."""
        return counted_profile(
            graph, feeds, inferences, lambda: self._compiled(graph, engine, threads, facts, {"PERF_COUNT": True})
        )

    def _compiled(
        self,
        graph: Path,
        engine: Settings,
        threads: int,
        facts: dict[str, Any],
        more: Mapping[str, Any] = MappingProxyType({}),
    ) -> Any:
        """OpenVINO's compiled model. more: settings beside the engine's."""
        import openvino

        core = openvino.Core()
        if DEVICE not in core.available_devices:
            raise DeviceError(
                f"this openvino {facts['runtime_version']} has no plugin for {DEVICE}",
                fix="install the wheel of openvino from PyPI: pip install --force-reinstall openvino",
            )
        settings = {
            "INFERENCE_PRECISION_HINT": engine.precision,
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            # Always set: OpenVINO's own default counts the machine's cores, not those that a container may use.
            "INFERENCE_NUM_THREADS": threads,
            # Threads that may move were 1.1 x faster on a busy machine, where pinned ones wait for their core; ONNX
            # Runtime's may move too.
            "ENABLE_CPU_PINNING": False,
            **more,
        }
        try:
            model = core.read_model(str(graph))
            _keep_reduced_axes(model)
            return core.compile_model(model, DEVICE, settings)
        except RuntimeError as error:
            reason = _reason(error)
            if _ALLOCATION.search(reason):
                raise MemoryError(reason) from error
            raise refused(self.name, facts["runtime_version"], graph, reason) from error


RUNTIME = OpenVino()


def _keep_reduced_axes(model: Any) -> None:
    """In a quantized model, have reductions keep their axes, and remove those in an operator of its own.

    OpenVINO 2025.0 to 2026.4 computes ReduceMean without its axis, a product per channel and a quantization as one
    operator, with the factors along the wrong axis. That is how the head of a classifier begins.
    """
    from openvino import opset13

    operators = model.get_ordered_ops()
    if not any(operator.get_type_name() == "FakeQuantize" for operator in operators):
        return
    for operator in operators:
        if operator.get_type_name().startswith("Reduce") and operator.get_attributes().get("keep_dims") is False:
            reduced, names = operator.output(0), operator.output(0).get_names()
            readers = list(reduced.get_target_inputs())
            operator.set_attribute("keep_dims", True)
            squeezed = opset13.squeeze(reduced, operator.input(1).get_source_output()).output(0)
            for reader in readers:
                reader.replace_source_output(squeezed)
            reduced.set_names(set())
            squeezed.set_names(names)
    model.validate_nodes_and_infer_types()


def _reason(error: RuntimeError) -> str:
    """The last line of an OpenVINO error; those above it name the places in its source that it went through."""
    lines = [line.strip().removeprefix("-- ") for line in str(error).splitlines()]
    return next((line for line in reversed(lines) if line), type(error).__name__)
