"""The graphs that an estimate compares, and their kernels at a length, for a runtime."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from edgeattn.bundle import Bundle
from edgeattn.estimate.count import Counted, count
from edgeattn.estimate.fuse import Fusing, Kernel, fuse
from edgeattn.estimate.graph import read, sized
from edgeattn.estimate.methods import as_method
from edgeattn.interface import BATCH
from edgeattn.manifest import SIDES, Side
from edgeattn.quantize.arithmetic import Arithmetic

# ONNX Runtime on a CPU interprets the graph; its fused attention is an operator of the graph. All others compile it.
_INTERPRETERS = {"onnxruntime"}


@dataclass(frozen=True)
class Form:
    """A graph of one side's model.

    name: "plain", or how its operators are fused. operators: that it holds of a runtime's own; for a graph that is
    quantized already, `runtimes` that run it. arithmetic: of the method, where the graph is not quantized yet.
    """

    path: Path
    side: Side
    name: str
    method: str
    operators: frozenset[str] = frozenset()
    arithmetic: Arithmetic = field(default_factory=Arithmetic)
    runtimes: tuple[str, ...] | None = None

    def counted(self, sizes: Mapping[str, int]) -> Counted:
        """Its work at these sizes of its axes. Raises ModelError for a graph that cannot be counted."""
        return as_method(_counted(self.path, tuple(sorted({BATCH: 1, **sizes}.items()))), self.arithmetic)


@lru_cache(maxsize=64)
def _counted(path: Path, sizes: tuple[tuple[str, int], ...]) -> Counted:
    return count(sized(read(path), dict(sizes), path.name))


def compiles(runtime: str) -> bool:
    """Whether the runtime makes kernels of several nodes by itself."""
    return runtime not in _INTERPRETERS


def kernels(counted: Counted, runtime: str, form: Form) -> Iterator[tuple[str, list[Kernel], int]]:
    """(name of the form, kernels, nodes that only start) for each way in which the runtime may run it."""
    if compiles(runtime):
        yield form.name, fuse(counted, Fusing(chains=True, attention=True)), 0
        return
    yield form.name, fuse(counted, Fusing(chains=False, attention=False)), counted.sizes
    if form.runtimes is None and form.name == "plain" and form.side == "dense":
        yield "fused attention", fuse(counted, Fusing(chains=False, attention=True)), counted.sizes


def forms_of(bundle: Bundle) -> tuple[Form, ...]:
    """The forms of a bundle's candidates; of its engines, where it is built and has no candidates left."""
    manifest = bundle.manifest
    if manifest.candidates:
        return tuple(
            Form(
                bundle.path / candidate.folder / candidate.graph, candidate.side, candidate.form, candidate.method,
                runtimes=tuple(candidate.runtimes),
            )
            for candidate in manifest.candidates
        )  # fmt: skip
    return tuple(
        Form(bundle.path / engine.graph, side, "plain", engine.method, runtimes=(engine.runtime,))
        for side in SIDES
        if (engine := manifest.engines.get(side)) is not None
    )
