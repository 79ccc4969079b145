"""The benchmark: a session of named contestants side by side, and its document.

The headline is the ratio of each contestant to the reference, with its interval over the pairs; absolute times move
with the machine.
"""

from __future__ import annotations

import logging
import statistics
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from edgeattn.bench.contestant import Case, Contestant
from edgeattn.bench.protocol import Protocol
from edgeattn.bench.raw import ENCODING, pack
from edgeattn.bench.scenarios import Scenario, scenario_of
from edgeattn.bench.session import opened
from edgeattn.devices.probe import machine_facts
from edgeattn.meters import Meter, full_window_s
from edgeattn.plaintext import plain
from edgeattn.progress import Progress

LOG = logging.getLogger("edgeattn")
SCHEMA_VERSION = 2


def run(
    contestants: Mapping[str, Contestant],
    cases: Sequence[Case],
    *,
    reference: str,
    pairs: int,
    unit: str | None = None,
    scenario: Scenario | None = None,
    meter: Meter | None = None,
    protocol: Protocol | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Time contestants on this machine, in all cases. Returns the bench document; nothing is recorded.

    reference: the contestant that ratios are against. pairs: rounds; in each, every contestant has a fresh process.
    unit: of the cases' lengths, such as "tokens". scenario: single requests when None. protocol: the full one when
    None.

    {schema, created_utc, scenario, figure, compares, notes, machine, reference, unit, threads, pairs, protocol,
     checked,
     meter: {name, scope, period_s, full_window_s, idle_watts} or None,
     conditions: {start, end, discarded: [{pair, reason}], invalid},
     contestants: {name: {bundle, method, runtime, disk_bytes, cold_start_ms, ...}},
     cells: [{length, batch_size,
              contestants: {name: {p50_ms, p90_ms, p99_ms, p50_without_transfers_ms, energy_mj, peak_memory_mb,
                                    arena_mb, device_memory_mb, ...}},
              speedups: {name: {ratio, low, high, confidence, pairs}}}],
     raw}

    A speedup is the reference's figure divided by the contestant's, both of "figure", which "compares" says in words.
    "notes" say how to read the scenario's figures.
    A pair that the machine disturbed is taken again; "invalid" says why the figures mean nothing, where that happened
    too often. "raw" holds the nanosecond series: see `edgeattn.bench.raw`. Raises VerificationError when a timed
    engine's outputs differ from the golden ones.
    """
    scenario = scenario or scenario_of()
    protocol = scenario.protocol(protocol or Protocol())
    machine = machine_facts()  # before this session loads it
    # Ascending, so that the memory of a case is not that of a longer one before it.
    cases = sorted(cases, key=lambda case: case.length or 0)
    with opened(contestants, cases, protocol, meter, scenario=scenario) as session:
        kept, invalid = 0, None
        while kept < pairs and invalid is None:
            if session.pair() is not None:
                invalid = session.watch.invalid(pairs)
                continue
            kept += 1
            if progress:
                shown = {f"{name}_ms": seen.cases[-1].p50s_ns()[-1] / 1e6 for name, seen in session.seen.items()}
                note = {} if cases[-1].length is None else {"length": cases[-1].length}
                progress.update(kept, pairs, **note, **shown)
        conditions = session.watch.facts(invalid)
        if invalid is not None:
            if not kept:
                session.seen = session.rejected  # so that there are figures to look at, of one pair
            LOG.warning("the session is invalid: %s", plain(invalid))
    series = {
        f"{case.length or 'whole'}.{name}.{pair}": pack(ns)
        for place, case in enumerate(cases)
        for name, seen in session.seen.items()
        for pair, ns in enumerate(seen.cases[place].series)
    }
    figure = session.figure()
    document: dict[str, Any] = {
        "schema": SCHEMA_VERSION,
        "created_utc": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "scenario": scenario.name,
        "figure": figure,
        "compares": scenario.figures[figure],
        "machine": machine,
        "reference": reference,
        "unit": unit,
        "contestants": {
            name: {
                **contestant.facts(),
                "runtime": session.seen[name].runtime,
                "cold_start_ms": statistics.median(session.seen[name].cold_ns) / 1e6,
            }
            for name, contestant in contestants.items()
        },
        "threads": contestants[reference].engine.threads,
        "pairs": kept or 1,
        "conditions": conditions,
        "protocol": protocol.facts(),
        "checked": "outputs of the timed processes: golden samples, repeated inputs",
        "meter": _meter_facts(meter, session.idle_watts),
        "cells": [session.cell(place, reference, figure) for place in range(len(cases))],
        "raw": {"encoding": f"{ENCODING}, {scenario.series} in order", "series": series},
    }
    return {**document, "notes": scenario.notes(document)}


def _meter_facts(meter: Meter | None, idle_watts: float | None) -> dict[str, Any] | None:
    """What energy was read with; full_window_s: below it, energies are less certain."""
    if meter is None:
        return None
    return {
        "name": meter.name,
        "scope": meter.scope,
        "period_s": meter.period_s,
        "full_window_s": full_window_s(meter),
        "idle_watts": idle_watts,
    }
