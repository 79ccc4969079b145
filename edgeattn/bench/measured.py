"""What a session measures of its contestants, collected over its pairs."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from edgeattn.bench.statistics import outliers, percentile
from edgeattn.runtimes.base import Memory

_MB = 1e6
_ENERGY = ("energy_mj", "energy_net_mj", "energy_scope", "energy_source", "watts", "energy_window_s")


@dataclass
class InCase:
    """What was measured of a contestant in one case, one item per pair."""

    series: list[list[int]] = field(default_factory=list)
    steady: list[bool] = field(default_factory=list)
    warm_ns: list[float] = field(default_factory=list)  # of an inference, the median at the end of the warm-up
    blocks: list[list[Mapping[str, Any]]] = field(default_factory=list)  # the scenario's facts of each block
    without_transfers_ns: list[int] = field(default_factory=list)  # single inferences
    peak_bytes: list[int] = field(default_factory=list)
    memory: Memory = field(default_factory=Memory)  # of the first pair's process
    joules: float = 0.0  # gross, over all energy windows
    energy_s: float = 0.0  # of them
    inferences: int = 0  # in them
    energy: dict[str, str] | None = None  # its scope and source
    no_energy: str | None = None  # why a window failed

    def copy(self) -> InCase:
        """What is added to the copy is not added to this one."""
        return replace(
            self,
            series=[*self.series],
            steady=[*self.steady],
            warm_ns=[*self.warm_ns],
            blocks=[*self.blocks],
            without_transfers_ns=[*self.without_transfers_ns],
            peak_bytes=[*self.peak_bytes],
        )

    def p50s_ns(self) -> list[float]:
        """The median of each pair, in ns."""
        return [float(np.median(series)) for series in self.series]

    def percentiles_ms(self, percent: int) -> list[float] | None:
        """A percentile of each pair, in ms; None where a pair has fewer samples than its floor.

        A median over the other pairs would favour fast processes, which have more samples.
        """
        found = [percentile(series, percent) for series in self.series]
        known = [value / 1e6 for value in found if value is not None]
        return known if len(known) == len(found) else None

    def facts(self, idle_watts: float | None = None) -> dict[str, Any]:
        """As JSON, for a cell of the document. idle_watts: of the machine with no engine running."""
        p50s = self.p50s_ns()
        p90s, p99s = self.percentiles_ms(90), self.percentiles_ms(99)
        return {
            "p50_ms": statistics.median(p50s) / 1e6,
            "p90_ms": None if p90s is None else statistics.median(p90s),
            "p99_ms": None if p99s is None else statistics.median(p99s),
            "p50_without_transfers_ms": statistics.median(self.without_transfers_ns) / 1e6
            if self.without_transfers_ns
            else None,
            "p50_ms_by_pair": [value / 1e6 for value in p50s],
            "peak_memory_mb": statistics.median(self.peak_bytes) / _MB if self.peak_bytes else None,
            "arena_mb": _mb(self.memory.arena_bytes),
            "device_memory_mb": _mb(self.memory.device_bytes),
            **self._energy(idle_watts),
            "samples": sum(map(len, self.series)),
            "outliers": sum(map(outliers, self.series)),  # counted in every figure, never removed
            "steady": all(self.steady),
        }

    def _energy(self, idle_watts: float | None) -> dict[str, Any]:
        """Energy per inference: gross, and net of what the machine draws when it is idle."""
        energy = None if self.no_energy else self.energy
        if energy is None:
            return {**dict.fromkeys(_ENERGY), "energy_unavailable": self.no_energy}
        net = None if idle_watts is None else self.joules - idle_watts * self.energy_s
        return {
            "energy_mj": self.joules / self.inferences * 1e3,
            # The baseline is as noisy as the window: an engine that draws next to nothing can come out below it.
            "energy_net_mj": None if net is None or net <= 0 else net / self.inferences * 1e3,
            "energy_scope": energy["scope"],
            "energy_source": energy["source"],
            "watts": self.joules / self.energy_s,
            "energy_window_s": self.energy_s,
            "energy_unavailable": None,
        }


def _mb(size: int | None) -> float | None:
    return None if size is None else size / _MB


@dataclass
class Seen:
    """What was measured of a contestant."""

    cases: list[InCase]
    cold_ns: list[int] = field(default_factory=list)
    runtime: dict[str, Any] | None = None  # facts of its session

    def copy(self) -> Seen:
        """What is added to the copy is not added to this one."""
        return Seen([case.copy() for case in self.cases], [*self.cold_ns], self.runtime)
