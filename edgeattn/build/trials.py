"""A trial: one candidate on one runtime in one of its configurations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeattn.bundle import Bundle, Candidate
from edgeattn.devices import CpuFacts
from edgeattn.runtimes import RUNTIMES
from edgeattn.runtimes.base import Configuration


@dataclass(frozen=True)
class Trial:
    """What an engine is built from. bytes: of the candidate's folder, graph and weights."""

    candidate: Candidate
    runtime: str
    configuration: Configuration
    bytes: int

    @property
    def name(self) -> str:
        """Such as "efficient int8, openvino bf16"; no other trial of the bundle has it."""
        extra = "" if self.configuration.name == "default" else f" {self.configuration.name}"
        return f"{self.candidate.name}, {self.runtime}{extra}"

    @property
    def order(self) -> tuple[int, bool]:
        """Sorts trials, the most precise first."""
        return self.candidate.rank, self.configuration.least_cosine is not None

    @property
    def least_cosine(self) -> float:
        """What its outputs must keep to the golden ones."""
        return min(self.candidate.least_cosine, self.configuration.least_cosine or 1.0)

    def digests(self, bundle: Bundle) -> list[str]:
        """Of the candidate's files in the bundle: graph, weights and buckets."""
        inside = f"{self.candidate.folder}/"
        return [entry.sha256 for name, entry in bundle.manifest.files.items() if name.startswith(inside)]


def trials_of(
    root: Path, candidates: Sequence[Candidate], runtimes: Sequence[str], cpu: CpuFacts | None
) -> Iterator[Trial]:
    """Every candidate on every runtime that can run it, in each configuration for the processor `cpu`.

    root: the bundle's folder. runtimes: those of the target that are installed here.
    """
    for candidate in candidates:
        size = sum(file.stat().st_size for file in (root / candidate.folder).iterdir())
        for runtime in runtimes:
            if runtime in candidate.runtimes:
                for configuration in RUNTIMES[runtime].configurations(cpu):
                    yield Trial(candidate, runtime, configuration, size)
