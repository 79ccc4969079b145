"""Builds the engines of a bundle's trials; those that take minutes only once on a machine.

Timing, scoring and the finished bundle use the same engine. It is kept in the store by what it depends on: graph,
shapes, runtime and settings, and the machine with its GPU, TensorRT, L4T release and power mode.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from edgeattn.bench.leg import Engine
from edgeattn.build.shapes import shape_ranges
from edgeattn.build.trials import Trial
from edgeattn.bundle import Bundle
from edgeattn.progress import Progress
from edgeattn.runtimes import RUNTIMES
from edgeattn.runtimes.base import ShapeRanges
from edgeattn.store import Store, copy_folder

_CACHE = "compilers"  # in the store's folder: what builds on this machine share, such as TensorRT's timings


class Engines:
    """Makes engines of trials."""

    def __init__(self, bundle: Bundle, machine: Mapping[str, Any], store: Store, progress: Progress) -> None:
        """machine: of `edgeattn.devices.fingerprint`."""
        self._bundle, self._machine, self._store, self._progress = bundle, machine, store, progress

    def make(self, trial: Trial, root: Path, out: Path) -> Engine:
        """Put the engine of a trial into the folder `out`. root: holds its graph, its weights and buckets.

        Raises the errors of the runtime's `build`.
        """
        runtime, candidate = RUNTIMES[trial.runtime], trial.candidate
        graph, settings = root / candidate.graph, trial.configuration
        if not runtime.compiles:
            runtime.build(graph, out, method=candidate.method, configuration=settings)
            if candidate.buckets:
                runtime.add_buckets(out, {bucket.length: bucket.graph for bucket in candidate.buckets})
            return Engine(root, out, trial.runtime)

        def compiled(made: Path, _work: Path) -> dict[str, Any]:
            shared = self._store.root / _CACHE
            shared.mkdir(parents=True, exist_ok=True)
            return runtime.build(
                graph, made, method=candidate.method, configuration=settings, shapes=self._shapes, cache=shared,
                report=lambda done, total, what: self._progress.update(done, total, f"{trial.name}, {what}:"),
            )  # fmt: skip

        copy_folder(self._store.run("engine", 1, reads=self._reads(trial), build=compiled).path, out)
        return Engine(root, out, trial.runtime)

    @cached_property
    def _shapes(self) -> ShapeRanges:
        return shape_ranges(self._bundle)

    def _reads(self, trial: Trial) -> dict[str, Any]:
        return {
            "graph": trial.digests(self._bundle),
            "method": trial.candidate.method,
            "runtime": trial.runtime,
            "settings": dict(trial.configuration.settings),
            "shapes": [{name: [each.least, each.usual, each.most] for name, each in r.items()} for r in self._shapes],
            "machine": dict(self._machine),
        }
