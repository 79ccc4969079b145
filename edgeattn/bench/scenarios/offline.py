"""Batches back to back: how much a machine gets done that has all of its inputs at hand."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any, ClassVar

from edgeattn.bench.contestant import Case
from edgeattn.bench.inputs import Array, bench_feeds
from edgeattn.bench.measured import InCase
from edgeattn.bench.scenarios.base import Scenario
from edgeattn.errors import InputError
from edgeattn.interface import BATCH
from edgeattn.manifest import Manifest

# Of MiniLM's dense graph, 8 x 2048 tokens take 1.6 GB for the attention maps of one layer.
BATCH_SIZE = 8


class Offline(Scenario):
    """See `Scenario`. A "request" is a batch: latencies, their samples and energy are of whole batches."""

    name = "offline"
    figures: ClassVar[Mapping[str, str]] = {"ms_per_sample": "the time per sample, in batches back to back"}
    columns = (("samples/s", "samples_per_s"), ("ms/sample", "ms_per_sample"))
    series = "nanoseconds of each timed batch"
    options = frozenset({"batch_size"})

    def __init__(self, batch_size: int | None = None) -> None:
        """batch_size: samples of one inference; BATCH_SIZE when None."""
        self._batch_size = batch_size or BATCH_SIZE

    def case(self, manifest: Manifest, evaluation: Mapping[str, Array], length: int | None, count: int) -> Case:
        """As `Scenario.case`, in batches. Raises InputError for graphs that take no other batch than their own."""
        for spec in manifest.inputs:
            if spec.dims[0] != BATCH:
                raise InputError(
                    f"the input {spec.name!r} is {list(spec.dims)}: its batch size is fixed, so there are no batches "
                    f"of {self._batch_size}",
                    where="--scenario offline",
                    fix="use --scenario single, or compile a model whose batch size may change",
                )
        feeds = bench_feeds(manifest, evaluation, length=length, batch_size=self._batch_size, count=count)
        return Case(length, self._batch_size, feeds)

    @classmethod
    def notes(cls, document: Mapping[str, Any]) -> list[str]:
        """The size of the batches."""
        sizes = dict.fromkeys(cell["batch_size"] for cell in document["cells"])
        return [f"latency and energy are those of a batch of {' and '.join(map(str, sizes))}"]

    def by_pair(self, figure: str, seen: InCase, case: Case) -> list[float] | None:
        """The time per sample: a mean over all batches, since throughput is one."""
        return [statistics.fmean(series) / case.batch_size / 1e6 for series in seen.series]

    def facts(self, seen: InCase, case: Case) -> dict[str, Any]:
        """Its throughput: the median over the pairs."""
        ms = statistics.median(statistics.fmean(series) for series in seen.series) / case.batch_size / 1e6
        return {"ms_per_sample": ms, "samples_per_s": 1e3 / ms}
