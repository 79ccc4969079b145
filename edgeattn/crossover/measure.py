"""Measures each variant's attention and the best dense form, length by length, on this machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import torch

from edgeattn.attention import ATTENTION
from edgeattn.attention.variant import Shape, VariantOptions
from edgeattn.bench.compare import quick_compare
from edgeattn.bench.crossing import Crossing, crossing
from edgeattn.bench.inputs import Arrays
from edgeattn.bench.leg import Engine
from edgeattn.bench.statistics import ratio
from edgeattn.crossover.block import HIDDEN, INPUTS, MASK, add_projections, core, ending_uncopied
from edgeattn.crossover.choice import DENSE
from edgeattn.devices.probe import machine_facts, usable_memory_bytes, usable_threads
from edgeattn.errors import ToolError
from edgeattn.export.onnx import PREFERRED_OPSET, save
from edgeattn.progress import Progress, duration
from edgeattn.runtimes.onnxruntime import RUNTIME
from edgeattn.scratch import scratch

SCHEMA_VERSION = 1
PLAIN = "plain"
_SHARE = 1 / 3  # of the usable memory, for one form: two dense ones and the variants run at the same time
_START_S = 1.0  # to start a process with its session, about


@dataclass(frozen=True)
class Setting:
    """What is measured. variants: name -> checked options. lengths: tokens, ascending."""

    heads: int
    head_dim: int
    lengths: tuple[int, ...]
    variants: Mapping[str, VariantOptions]
    causal: bool = False
    key_mask: bool = True
    batch_size: int = 1
    threads: int | None = None


@dataclass(frozen=True)
class Effort:
    """How long to measure: all forms take turns in each round; six rounds give a 96.9 % interval.

    limit_s: a length is skipped if it would end after this, estimated from the length before.
    """

    rounds: int = 6
    block_s: float = 0.03
    warm_s: float = 0.05
    limit_s: float = 900.0


@dataclass(frozen=True)
class _Form:
    """A graph of a variant: "plain", or named by the fused operator that it uses."""

    variant: str
    name: str
    projections: bool
    folder: Path
    length: int | None = None  # the only length of the graph; None: any

    @property
    def label(self) -> str:
        return f"{self.variant} {self.name}"


def measure(setting: Setting, effort: Effort | None = None, progress: Progress | None = None) -> dict[str, Any]:
    """Measure and return the crossover document, as JSON.

    cells: one per length, with and without projections: the time of every form, the fastest dense form, and for each
    variant the ratio dense / variant with its interval over the rounds. pays: the length from which each variant is
    faster. notes: what was left out, and why. Raises ToolError for a variant that cannot be exported or run.
    """
    effort, machine = effort or Effort(), machine_facts()
    threads = setting.threads or usable_threads()
    with scratch("crossover") as folder:
        session = _Session(setting, effort, progress or Progress(), threads, folder)
        cells = list(session.cells())
    return {
        "schema": SCHEMA_VERSION,
        "created_utc": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine,
        "runtime": {"name": RUNTIME.name, "version": RUNTIME.version(), "torch": str(torch.__version__)},
        "precision": "fp32",
        "opset": PREFERRED_OPSET,
        "heads": setting.heads,
        "head_dim": setting.head_dim,
        "batch_size": setting.batch_size,
        "causal": setting.causal,
        "key_mask": setting.key_mask,
        "threads": threads,
        "effort": asdict(effort),
        "options": {name: options.model_dump(mode="json") for name, options in setting.variants.items()},
        "cells": cells,
        "pays": [
            {"variant": name, "projections": projections, **asdict(_crossing(cells, name, projections))}
            for projections in (False, True)
            for name in setting.variants
        ],
        "notes": session.notes,
    }


def _crossing(cells: Sequence[Mapping[str, Any]], variant: str, projections: bool) -> Crossing:
    found = {
        cell["length"]: cell["variants"][variant]["speedup"]
        for cell in cells
        if cell["projections"] == projections and variant in cell["variants"]
    }
    return crossing({length: speedup for length, speedup in found.items() if speedup is not None})


class _Session:
    def __init__(self, setting: Setting, effort: Effort, progress: Progress, threads: int, folder: Path) -> None:
        self.setting, self.effort, self.progress, self.threads, self.folder = setting, effort, progress, threads, folder
        self.shape = Shape(setting.heads, setting.head_dim, setting.head_dim**-0.5, setting.causal)
        self.options = {DENSE: ATTENTION[DENSE].Options(), **setting.variants}
        self.notes: list[str] = []

    def cells(self) -> Iterator[dict[str, Any]]:
        """Two cells per length, from the shortest to the longest."""
        started = time.monotonic()
        forms = self._export()
        self.progress.finish("export", time.monotonic() - started, note=f"{len(forms)} graphs")
        self.progress.stage("measure", f"{self.effort.rounds} rounds, {self.threads} threads")
        lengths, begun = self.setting.lengths, time.monotonic()
        last: list[dict[str, Any]] = []
        for done, length in enumerate(lengths):
            needed = self._seconds(last, length)
            if time.monotonic() - started + needed > self.effort.limit_s:
                self._note(
                    f"N = {length} and above: left out, {duration(needed)} more would pass the limit of "
                    f"{duration(self.effort.limit_s)}"
                )
                break
            last = [self._cell(forms, length, projections) for projections in (False, True)]
            yield from last
            self.progress.update(done + 1, len(lengths), length=length)
        self.progress.finish("measure", time.monotonic() - begun)

    def _export(self) -> list[_Form]:
        forms: list[_Form] = []
        self.progress.stage("export", "a graph for each form")
        for done, name in enumerate(self.options):
            for length in (None,) if ATTENTION[name].dynamic_length else self.setting.lengths:
                try:
                    forms += self._forms(name, length)
                except ToolError as error:
                    if length is None:
                        raise
                    self._note(f"{name} at N = {length}: left out, {error.fact}")
            self.progress.update(done + 1, len(self.options), variant=name)
        return forms

    def _forms(self, name: str, length: int | None) -> Iterator[_Form]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # parameters are where training starts them
            variant = ATTENTION[name](self.shape, self.options[name])
        operators = variant.operators & RUNTIME.operators
        graph = core(variant, key_mask=self.setting.key_mask, operators=operators, length=length)
        held = {node.op_type for node in graph.graph.all_nodes() if f"{node.domain}::{node.op_type}" in operators}
        yield from self._written(graph, name, "+".join(sorted(held)) or PLAIN, length)
        if held:  # else the graph is the plain one already
            yield from self._written(core(variant, key_mask=self.setting.key_mask, length=length), name, PLAIN, length)

    def _written(self, graph: ir.Model, name: str, form: str, length: int | None) -> Iterator[_Form]:
        for projections in (False, True):
            if projections:
                add_projections(graph, self.shape.heads * self.shape.head_dim)
            folder = self.folder / f"{name}-{form}-{length or 'any'}-{projections}"
            folder.mkdir()
            with nullcontext() if projections else ending_uncopied(graph):
                save(graph, folder / "model.onnx")
            RUNTIME.build(folder / "model.onnx", folder / "engine", method="fp32")
            yield _Form(name, form, projections, folder, length)

    def _cell(self, forms: Sequence[_Form], length: int, projections: bool) -> dict[str, Any]:
        fits = [
            form for form in forms
            if form.projections == projections and form.length in (None, length) and self._fits(form, length)
        ]  # fmt: skip
        times = quick_compare(
            {form.label: Engine(form.folder, form.folder / "engine", RUNTIME.name, self.threads) for form in fits},
            [_feeds(self.setting, length, projections)],
            rounds=self.effort.rounds, block_s=self.effort.block_s, warm_s=self.effort.warm_s,
            seed=length,
        )  # fmt: skip
        best: dict[str, Any] = {}
        for name in dict.fromkeys(form.variant for form in fits):
            series = {form.name: times[form.label] for form in fits if form.variant == name}
            fastest = min(series, key=lambda form: statistics.median(series[form]))
            best[name] = {
                "form": fastest,
                "ms": statistics.median(series[fastest]),
                "forms_ms": series,
            }
        dense = best.pop(DENSE, None)
        for found in best.values():
            found["speedup"] = None
            if dense is not None:
                pairs = (side["forms_ms"][side["form"]] for side in (dense, found))
                found["speedup"] = _speedup(*pairs)
        return {"length": length, "projections": projections, "dense": dense, "variants": best}

    def _fits(self, form: _Form, length: int) -> bool:
        cost = ATTENTION[form.variant].cost(self.options[form.variant], length, self.shape)
        needed, usable = cost.bytes * self.setting.batch_size, usable_memory_bytes()
        if usable is None or needed < usable * _SHARE:
            return True
        self._note(f"{form.label} at N = {length}: left out, its {needed / 1e9:.2g} GB are too much for this machine")
        return False

    def _note(self, text: str) -> None:
        if text not in self.notes:  # with and without projections give the same note
            self.notes.append(text)

    def _seconds(self, cells: Sequence[Mapping[str, Any]], length: int) -> float:
        """About how long `length` will take, from the cells of the length before: it grows at most with N^2."""
        each: list[float] = [
            statistics.median(series) / 1e3 * (length / cell["length"]) ** 2
            for cell in cells
            for found in (*cell["variants"].values(), *([cell["dense"]] if cell["dense"] else []))
            for series in found["forms_ms"].values()
        ]
        # A block is one untimed inference and at least one timed; one more block is the warm-up.
        return sum(_START_S + (self.effort.rounds + 1) * max(self.effort.block_s, 2 * s) for s in each)


def _speedup(dense: Sequence[float], variant: Sequence[float]) -> dict[str, Any]:
    found = ratio(dense, variant)
    return {"ratio": found.value, "low": found.low, "high": found.high, "confidence": found.confidence}


def _feeds(setting: Setting, length: int, projections: bool) -> Arrays:
    random = np.random.default_rng(length)
    shape = (setting.batch_size, length, setting.heads * setting.head_dim)
    names = (HIDDEN,) if projections else INPUTS
    feeds: Arrays = {name: random.standard_normal(shape, dtype=np.float32) for name in names}
    if setting.key_mask:
        feeds[MASK] = np.ones(shape[:2], dtype=bool)
    return feeds
