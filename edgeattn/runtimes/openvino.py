"""OpenVINO on the CPU, of x86 and Arm. It reads the bundle's own ONNX graphs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from edgeattn.devices.profile import CpuFacts
from edgeattn.errors import DeviceError
from edgeattn.runtimes.base import DEFAULT, Arrays, Configuration, Session
from edgeattn.runtimes.graph_engine import GraphEngine, GraphRuntime, refused
from edgeattn.runtimes.graphs import output_names

DEVICE = "CPU"

# The precision that float operations are computed in where OpenVINO finds it faster. Graphs and outputs keep theirs.
_Precision = Literal["f32", "bf16", "f16"]
# Without one of these, OpenVINO computes the precision in fp32.
_NEEDS = {"bf16": {"avx512_bf16", "amx_bf16"}, "f16": {"asimdhp"}}
_LEAST_COSINE = {"bf16": 0.99, "f16": 0.99}
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
        }
        try:
            compiled = core.compile_model(str(graph), DEVICE, settings)
        except RuntimeError as error:
            reason = _reason(error)
            if _ALLOCATION.search(reason):
                raise MemoryError(reason) from error
            raise refused(self.name, facts["runtime_version"], graph, reason) from error
        own = {"threads": compiled.get_property("INFERENCE_NUM_THREADS"), "precision": engine.precision}
        return OpenVinoSession(compiled.create_infer_request(), output_names(graph), {**facts, **own})


RUNTIME = OpenVino()


def _reason(error: RuntimeError) -> str:
    """The last line of an OpenVINO error; those above it name the places in its source that it went through."""
    lines = [line.strip().removeprefix("-- ") for line in str(error).splitlines()]
    return next((line for line in reversed(lines) if line), type(error).__name__)
