"""The benchmark: dense and efficient side by side, in pairs of fresh processes that take turns in random order.

The headline is the ratio of the two with its interval over the pairs; absolute times move with the machine.
"""

from __future__ import annotations

import logging
import os
import random
import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from edgeattn.bench.golden import drifts, repeats, require_fresh, require_golden
from edgeattn.bench.inputs import bench_feeds, has_sequence, one_by_one, save_feeds
from edgeattn.bench.leg import Engine, Leg, Turns
from edgeattn.bench.memory import disk_bytes, peak_memory_bytes
from edgeattn.bench.protocol import Protocol
from edgeattn.bench.raw import ENCODING, pack
from edgeattn.bench.statistics import percentile, ratio
from edgeattn.bundle import Bundle
from edgeattn.devices import DeviceProfile
from edgeattn.devices.probe import machine_facts, usable_threads
from edgeattn.errors import BundleError, InputError, ResourceError
from edgeattn.meters import choose
from edgeattn.progress import Progress
from edgeattn.scratch import scratch
from edgeattn.target import target_here

LOG = logging.getLogger("edgeattn")
SCHEMA_VERSION = 1
SIDES = ("dense", "efficient")
_GOLDEN_OF = {"dense": "teacher", "efficient": "student"}
_MB = 1e6


def engine_of(bundle: Bundle, side: str, threads: int | None = None) -> Engine:
    """The engine "dense" or "efficient" of a bundle."""
    reference = bundle.manifest.engines.get(side)
    if reference is None:
        raise BundleError(f"the bundle has no {side} engine", where=str(bundle.path), fix="compile it again")
    return Engine(bundle.path, bundle.path / reference.path, reference.runtime, threads)


def run(
    bundle: Bundle,
    *,
    lengths: Sequence[int] | None = None,
    pairs: int | None = None,
    threads: int | None = None,
    protocol: Protocol | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Time the bundle's engines on this machine. Returns the bench document, also recorded as bench.json in the bundle.

    Its "raw" holds the nanosecond series: see `edgeattn.bench.raw`.
    lengths: tokens; the bundle's own when None. pairs: of fresh processes; the bundle's own when None.
    threads: the usable cores when None. protocol: the full one when None.
    Raises VerificationError when a timed engine's outputs differ from the golden ones; InputError for lengths
    that a model without a sequence input cannot have; DeviceError when this machine is not the bundle's target;
    ResourceError, before timing, when the bundle cannot be written.
    """
    manifest = bundle.manifest
    if lengths and not has_sequence(manifest.inputs):
        raise InputError("the model has no sequence input", where="--lengths", fix="leave --lengths out")
    if not os.access(bundle.path, os.W_OK):
        raise ResourceError(
            "the results cannot be recorded: the folder is read-only",
            where=str(bundle.path),
            fix="copy the bundle to a writable folder",
        )
    wanted: Sequence[int | None] = tuple(dict.fromkeys(lengths or manifest.bench.lengths or (None,)))
    session = _Session(
        bundle=bundle,
        pairs=pairs or manifest.bench.pairs,
        threads=threads or usable_threads(),
        protocol=protocol or Protocol(),
        progress=progress,
        total=len(wanted) * (pairs or manifest.bench.pairs),
        profile=target_here(bundle),
    )
    machine = machine_facts()  # before this session loads it
    with scratch("bench") as folder:
        cells = [session.cell(length, folder / f"feeds{i}.npz") for i, length in enumerate(wanted)]
    document = {
        "schema": SCHEMA_VERSION,
        "created_utc": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine,
        "runtime": {side: session.facts[side] for side in SIDES},
        "threads": session.threads,
        "pairs": session.pairs,
        "protocol": asdict(session.protocol),
        "checked": "outputs of the timed processes: golden samples, repeated inputs",
        "cells": cells,
        "raw": {"encoding": ENCODING, "series": session.raw},
    }
    bundle.record("bench.json", document)
    return document


@dataclass
class _Side:
    """The measurements of one engine in a cell, one item per pair."""

    series: list[list[int]] = field(default_factory=list)
    steady: list[bool] = field(default_factory=list)
    cold_ns: list[int] = field(default_factory=list)
    energy: dict[str, Any] | None = None


@dataclass
class _Session:
    bundle: Bundle
    pairs: int
    threads: int
    protocol: Protocol
    progress: Progress | None
    total: int
    profile: DeviceProfile
    done: int = 0
    raw: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.engines = {side: engine_of(self.bundle, side, self.threads) for side in SIDES}
        self.meter = choose(self.profile)
        self.shuffle = random.Random(self.protocol.seed)

    def cell(self, length: int | None, path: Path) -> dict[str, Any]:
        manifest, protocol = self.bundle.manifest, self.protocol
        feeds = bench_feeds(
            manifest.inputs,
            self.bundle.arrays("eval"),
            length=length,
            batch_size=manifest.bench.batch_size,
            count=protocol.feeds,
        )
        save_feeds(path, feeds)
        peaks = {side: peak_memory_bytes(self.engines[side], path) for side in SIDES}
        sides = {side: _Side() for side in SIDES}
        for pair in range(self.pairs):
            check = self._check(feeds, length) if pair == 0 else None
            self._pair(sides, path, check)
            self.done += 1
            if self.progress:
                shown = {side: statistics.median(sides[side].series[-1]) / 1e6 for side in SIDES}
                note = {"length": length} if length else {}
                self.progress.update(self.done, self.total, **note, **{f"{k}_ms": v for k, v in shown.items()})
        for side in SIDES:
            for pair, series in enumerate(sides[side].series):
                self.raw[f"{length or 'whole'}.{side}.{pair}"] = pack(series)
        p50s = {side: [float(np.median(series)) for series in sides[side].series] for side in SIDES}
        estimate = ratio(p50s["dense"], p50s["efficient"])
        return {
            "length": length,
            "batch_size": manifest.bench.batch_size,
            **{side: self._facts_of(side, sides[side], p50s[side], peaks[side]) for side in SIDES},
            "speedup": {
                "ratio": estimate.value,
                "low": estimate.low,
                "high": estimate.high,
                "confidence": estimate.confidence,
                "pairs": self.pairs,
            },
        }

    def _pair(self, sides: dict[str, _Side], path: Path, check: Callable[[str, Leg], None] | None) -> None:
        protocol, turns = self.protocol, Turns()
        order = list(SIDES)
        self.shuffle.shuffle(order)
        with ExitStack() as stack:
            legs = {}
            for side in order:
                quiet = side in self.facts
                leg = Leg(f"{side} engine", self.engines[side], path, quiet=quiet)
                legs[side] = stack.enter_context(leg)
            for side in order:
                loaded = turns.give(legs[side]).load()
                self.facts[side] = loaded["session"]
                sides[side].cold_ns.append(loaded["load_ns"] + loaded["first_run_ns"])
            for side in order:
                warm = turns.give(legs[side]).warm_up(
                    window_s=protocol.window_s,
                    agree=protocol.agree,
                    min_s=protocol.warm_min_s,
                    max_s=protocol.warm_max_s,
                )
                sides[side].steady.append(warm["steady"])
                sides[side].series.append([])
            for _ in range(protocol.blocks):
                self.shuffle.shuffle(order)
                for side in order:
                    sides[side].series[-1] += turns.give(legs[side]).measure(
                        seconds=protocol.block_s,
                        at_least=ceil(protocol.samples / protocol.blocks),
                        limit_s=protocol.measure_max_s / protocol.blocks,
                    )
            if check is not None:  # once per cell, in the processes that were just timed
                for side in order:
                    check(side, turns.give(legs[side]))
                    sides[side].energy = self._energy(turns.give(legs[side]))

    def _energy(self, leg: Leg) -> dict[str, Any] | None:
        """Gross joules of one inference, over a window in which the leg does nothing else."""
        if self.meter is None:
            return None
        with self.meter.window([leg.pid]) as window:
            timed = leg.measure(seconds=self.protocol.energy_s, at_most=10**7)
        inferences = len(timed) + 1  # with the untimed one before
        if window.energy is None:
            LOG.warning("no energy: %s", window.reason)
            return None
        found = window.energy
        return {"joules": found.joules / inferences, "scope": found.scope, "source": found.source}

    def _check(self, feeds: Sequence[dict[str, Any]], length: int | None) -> Callable[[str, Leg], None]:
        manifest, samples = self.bundle.manifest, self.bundle.arrays("samples")
        golden = list(one_by_one(manifest.inputs, samples))
        at = f" at length {length}" if length else ""

        def check(side: str, leg: Leg) -> None:
            answers = leg.answer([*golden, *repeats(feeds)])
            drift = drifts(answers[: len(golden)], samples, _GOLDEN_OF[side])
            require_golden(drift, manifest.engines[side], f"{side} engine")
            require_fresh(repeats(feeds), answers[len(golden) :], f"{side} engine{at}")

        return check

    def _facts_of(self, side: str, seen: _Side, p50s: list[float], peak: int | None) -> dict[str, Any]:
        reference = self.bundle.manifest.engines[side]
        p90s = [percentile(series, 90) for series in seen.series]
        known = [value for value in p90s if value is not None]
        energy = seen.energy
        return {
            "p50_ms": statistics.median(p50s) / 1e6,
            # A process with too few samples has no p90; a median over the others would favour the fast ones.
            "p90_ms": statistics.median(known) / 1e6 if len(known) == len(p90s) else None,
            "p50_ms_by_pair": [value / 1e6 for value in p50s],
            "cold_start_ms": statistics.median(seen.cold_ns) / 1e6,
            "peak_memory_mb": None if peak is None else peak / _MB,
            "disk_bytes": disk_bytes(self.bundle.manifest.files, reference.graph, reference.path),
            "energy_mj": None if energy is None else energy["joules"] * 1e3,
            "energy_scope": None if energy is None else energy["scope"],
            "energy_source": None if energy is None else energy["source"],
            "method": reference.method,
            "samples": sum(map(len, seen.series)),
            "steady": all(seen.steady),
        }
