"""`edgeattn measure`: each variant's attention and the best dense form, length by length, on this machine.

Needs numpy and the runtimes; the graphs come from `edgeattn crossover`.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from edgeattn.bench.compare import quick_compare
from edgeattn.bench.crossing import Crossing, crossing
from edgeattn.bench.inputs import Arrays
from edgeattn.bench.leg import Engine
from edgeattn.bench.statistics import ratio
from edgeattn.devices import machine_facts, machine_here, usable_memory_bytes, usable_threads
from edgeattn.errors import EdgeattnError
from edgeattn.interface import BATCH, TensorSpec
from edgeattn.measure.graphs import DENSE, GRAPH, LISTING, MASK, Form, Graphs, Listing, tensors
from edgeattn.progress import Progress, duration
from edgeattn.recognition import installed_here, require_device, usable_runtimes
from edgeattn.runtimes import RUNTIMES
from edgeattn.runtimes.base import ShapeRange, ShapeRanges
from edgeattn.scratch import scratch

SCHEMA_VERSION = 2
SLOWER = 2.0  # than its variant's fastest form: a form that is left out at greater lengths ...
_OVERHEAD_MS = 0.5  # ... unless the difference may be what a call costs at any length
_SHARE = 1 / 4  # of the usable memory, for one form: a few dense ones and the variants run at the same time
_START_S = 1.0  # to start a process with its session, about


@dataclass(frozen=True)
class _Entry:
    """A form in a runtime."""

    form: Form
    runtime: str
    engine: Engine

    @property
    def name(self) -> str:
        """Among those of its variant: "onnxruntime plain"."""
        return f"{self.runtime} {self.form.name}"

    @property
    def label(self) -> str:
        return f"{self.form.variant} {self.name}"


def measure(graphs: Graphs, progress: Progress | None = None) -> dict[str, Any]:
    """Measure and return the crossover document, as JSON.

    cells: one per length, with and without projections: the time of every form in every runtime, the fastest dense
    one, and for each variant's fastest the ratio dense / variant with its interval over the rounds. pays: the length
    from which each variant is faster. notes: what was left out, and why.
    Raises DeviceError where this machine is not the graphs' target or has none of their runtimes, and the first error
    of a form where none runs.
    """
    listing, machine, where = graphs.listing, machine_facts(), str(graphs.path / LISTING)
    require_device(listing.target, machine_here(), where, made_by="run `edgeattn crossover`")
    runtimes = {
        support.name: RUNTIMES[support.name].require() for support in usable_runtimes(listing.target, installed_here())
    }
    threads = listing.threads or usable_threads()
    with scratch("measure") as folder:
        left_out: dict[str, EdgeattnError] = {}
        entries = list(_entries(graphs, runtimes, threads, folder, left_out))
        if left_out and not entries:
            raise next(iter(left_out.values()))
        session = _Session(graphs, entries, progress or Progress(), threads)
        cells = list(session.cells())
    return {
        "schema": SCHEMA_VERSION,
        "created_utc": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine,
        "target": listing.target.name,
        "runtimes": runtimes,
        "torch": listing.torch,
        "precision": "fp32",
        "opset": listing.opset,
        "heads": listing.heads,
        "head_dim": listing.head_dim,
        "batch_size": listing.batch_size,
        "causal": listing.causal,
        "key_mask": listing.key_mask,
        "threads": threads,
        "effort": listing.effort.model_dump(mode="json"),
        "options": listing.options,
        "cells": cells,
        "pays": [
            {"variant": name, "projections": projections, **asdict(_crossing(cells, name, projections))}
            for projections in (False, True)
            for name in listing.options
        ],
        "notes": [
            *listing.notes,
            *(f"{label}: left out, {error.fact}" for label, error in left_out.items()),
            *session.notes,
        ],
    }


def _entries(
    graphs: Graphs, runtimes: Mapping[str, str], threads: int, folder: Path, failed: dict[str, EdgeattnError]
) -> Iterator[_Entry]:
    """Each form in each runtime that can run it; the engines are written into `folder`.

    failed: gets why an engine cannot be built, by its label.
    """
    for form in graphs.listing.forms:
        shapes = _shapes(graphs.listing, form)
        for runtime in (name for name in form.runtimes if name in runtimes):
            root, out = graphs.path / form.folder, folder / f"{form.folder}-{runtime}"
            entry = _Entry(form, runtime, Engine(root, out, runtime, threads))
            try:
                RUNTIMES[runtime].build(root / GRAPH, out, method="fp32", shapes=shapes, cache=folder)
            except EdgeattnError as error:
                failed[entry.label] = error
            else:
                yield entry


def _shapes(listing: Listing, form: Form) -> ShapeRanges:
    """What a form's engine is built for: the lengths that are measured, each with a range of its own."""
    given = tensors(listing, projections=form.projections)
    return [
        {tensor.name: ShapeRange(*[_shape(listing, tensor, length)] * 3) for tensor in given}
        for length in ((form.length,) if form.length else listing.lengths)
    ]


def _shape(listing: Listing, tensor: TensorSpec, length: int) -> tuple[int, ...]:
    return tuple(dim if isinstance(dim, int) else listing.batch_size if dim == BATCH else length for dim in tensor.dims)


def _crossing(cells: Sequence[Mapping[str, Any]], variant: str, projections: bool) -> Crossing:
    found = {
        cell["length"]: cell["variants"][variant]["speedup"]
        for cell in cells
        if cell["projections"] == projections and variant in cell["variants"]
    }
    return crossing({length: speedup for length, speedup in found.items() if speedup is not None})


class _Session:
    def __init__(self, graphs: Graphs, entries: Sequence[_Entry], progress: Progress, threads: int) -> None:
        self.listing, self.effort = graphs.listing, graphs.listing.effort
        self.entries, self.progress, self.threads = entries, progress, threads
        self.notes: list[str] = []
        self._out: set[tuple[str, bool]] = set()  # label, projections of what is not measured any more

    def cells(self) -> Iterator[dict[str, Any]]:
        """Two cells per length, from the shortest to the longest."""
        lengths, begun = self.listing.lengths, time.monotonic()
        self.progress.stage("measure", f"{self.effort.rounds} rounds, {self.threads} threads")
        last: list[dict[str, Any]] = []
        for done, length in enumerate(lengths):
            needed = self._seconds(last, length)
            if time.monotonic() - begun + needed > self.effort.limit_s:
                self._note(
                    f"N = {length} and above: left out, {duration(needed)} more would pass the limit of "
                    f"{duration(self.effort.limit_s)}"
                )
                break
            for cell in last:
                self._leave_out_slow(cell)
            last = [self._cell(length, projections) for projections in (False, True)]
            yield from last
            self.progress.update(done + 1, len(lengths), length=length)
        self.progress.finish("measure", time.monotonic() - begun)

    def _cell(self, length: int, projections: bool) -> dict[str, Any]:
        fits = [
            entry for entry in self.entries
            if entry.form.projections == projections
            and entry.form.length in (None, length)
            and (entry.label, projections) not in self._out
            and self._fits(entry, length)
        ]  # fmt: skip
        errors: list[EdgeattnError] = []

        def failed(label: str, error: EdgeattnError) -> None:
            errors.append(error)
            self._out.add((label, projections))
            self._note(f"{label} from N = {length}: left out, {error.fact}")

        times = quick_compare(
            {entry.label: entry.engine for entry in fits},
            [_feeds(self.listing, length, projections)],
            rounds=self.effort.rounds, block_s=self.effort.block_s, warm_s=self.effort.warm_s,
            seed=length, failed=failed,
        )  # fmt: skip
        if errors and not times:
            raise errors[0]
        best: dict[str, Any] = {}
        for variant in dict.fromkeys(entry.form.variant for entry in fits):
            series = {
                entry.name: (entry.runtime, times[entry.label])
                for entry in fits
                if entry.form.variant == variant and entry.label in times
            }
            if series:
                fastest = min(series, key=lambda name: statistics.median(series[name][1]))
                runtime, found = series[fastest]
                best[variant] = {
                    "form": fastest,
                    "runtime": runtime,
                    "ms": statistics.median(found),
                    "forms_ms": {name: each for name, (_, each) in series.items()},
                }
        dense = best.pop(DENSE, None)
        for found in best.values():
            found["speedup"] = None
            if dense is not None:
                pairs = (side["forms_ms"][side["form"]] for side in (dense, found))
                found["speedup"] = _speedup(*pairs)
        return {"length": length, "projections": projections, "dense": dense, "variants": best}

    def _leave_out_slow(self, cell: Mapping[str, Any]) -> None:
        """Keep the measuring short: a form that is far slower than another of its variant does not overtake it soon."""
        slow = [
            f"{variant} {name}"
            for variant, found in _sides(cell)
            for name in found["forms_ms"]
            if _is_slow(name, found)
        ]
        self._out |= {(label, cell["projections"]) for label in slow}
        if slow:
            around = "with projections" if cell["projections"] else "without projections"
            self._note(
                f"above N = {cell['length']}, {around}: left out as more than {SLOWER:g} x slower there than another "
                f"form, {', '.join(slow)}"
            )

    def _fits(self, entry: _Entry, length: int) -> bool:
        needed = entry.form.memory_bytes[self.listing.lengths.index(length)]
        usable = usable_memory_bytes()
        if usable is None or needed < usable * _SHARE:
            return True
        self._note(f"{entry.label} at N = {length}: left out, its {needed / 1e9:.2g} GB are too much for this machine")
        return False

    def _note(self, text: str) -> None:
        if text not in self.notes:  # with and without projections give the same note
            self.notes.append(text)

    def _seconds(self, cells: Sequence[Mapping[str, Any]], length: int) -> float:
        """About how long `length` will take, from the cells of the length before: it grows at most with N^2."""
        each: list[float] = [
            statistics.median(series) / 1e3 * (length / cell["length"]) ** 2
            for cell in cells
            for _, found in _sides(cell)
            for name, series in found["forms_ms"].items()
            if not _is_slow(name, found)
        ]
        # A block is one untimed inference and at least one timed; one more block is the warm-up.
        return sum(_START_S + (self.effort.rounds + 1) * max(self.effort.block_s, 2 * s) for s in each)


def _sides(cell: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Dense, where it was measured, and the variants of a cell."""
    return [*([(DENSE, cell["dense"])] if cell["dense"] else []), *cell["variants"].items()]


def _is_slow(form: str, found: Mapping[str, Any]) -> bool:
    """Whether a form is too slow, beside the fastest one of its variant, to be measured at greater lengths."""
    # By the best rounds: nothing makes a form faster than it is, another load makes it slower.
    ms, fastest_ms = (float(min(found["forms_ms"][name])) for name in (form, found["form"]))
    return ms > max(SLOWER * fastest_ms, fastest_ms + _OVERHEAD_MS)


def _speedup(dense: Sequence[float], variant: Sequence[float]) -> dict[str, Any]:
    found = ratio(dense, variant)
    return {"ratio": found.value, "low": found.low, "high": found.high, "confidence": found.confidence}


def _feeds(listing: Listing, length: int, projections: bool) -> Arrays:
    """Random float32 inputs, and a mask of ones."""
    random = np.random.default_rng(length)
    feeds: Arrays = {}
    for tensor in tensors(listing, projections=projections):
        shape = _shape(listing, tensor, length)
        feeds[tensor.name] = (
            np.ones(shape, dtype=bool) if tensor.name == MASK else random.standard_normal(shape, dtype=np.float32)
        )
    return feeds
