"""The profile of the engines that a bench session timed: the document of profile.json."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from edgeattn.bench.contestant import Case
from edgeattn.bench.engines import engine_of
from edgeattn.bench.inputs import bench_feeds
from edgeattn.bench.leg import Engine
from edgeattn.bench.scenarios import document_name
from edgeattn.bundle import Bundle
from edgeattn.devices.probe import machine_facts
from edgeattn.jsonfile import strict_json
from edgeattn.plaintext import plain
from edgeattn.profiling.attribute import attribute, cell
from edgeattn.profiling.leg import profile
from edgeattn.profiling.roofline import with_roofline
from edgeattn.progress import Progress
from edgeattn.runtimes.nodes import read_nodes

LOG = logging.getLogger("edgeattn")
SCHEMA_VERSION = 1
PROFILE = "profile.json"
NO_PROFILER = "its runtime does not say what its operators take"


def profiled(bundles: Sequence[Bundle], bench: Mapping[str, Any], progress: Progress | None = None) -> dict[str, Any]:
    """Profile the engines that a bench document is of, one after another in processes of their own, at its lengths.

    {schema, bundle, created_utc, machine, threads, unit,
     contestants: {name: {runtime, method, unavailable,
       cells: [{length, batch_size, graph, total_ms, inference_ms, timed_ms, layers: [{layer, ms, share}],
                kinds: [{kind, ms, share, operators, nodes}],
                operators: [{name, type, kind, layer, ms, share}]}]}}}

    With what `edgeattn.profiling.roofline` adds. bundle: digest of the first. total_ms: of all operators; each list
    but `operators`, the most costly ones, sums to it. inference_ms: of a whole inference under the profiler. timed_ms:
    its median in the timed session, which no profiler slowed down. unavailable: why there are no cells, else None.
    """
    first = bundles[0]
    cases = list(_cases(first, bench))
    contestants = {}
    for place, (name, engine) in enumerate(_engines(bundles, bench).items()):
        contestants[name] = _contestant(name, engine, cases, bench)
        if progress:
            progress.update(place + 1, len(bench["contestants"]))
    document = {
        "schema": SCHEMA_VERSION,
        "bundle": first.manifest.digest,
        "created_utc": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine_facts(),
        "threads": bench["threads"],
        "unit": bench["unit"],
        "contestants": contestants,
    }
    return with_roofline(document, bundles)


def parted(document: Mapping[str, Any], scenario: str) -> dict[str, dict[str, Any]]:
    """The documents of a bench job by the names of their reports. scenario: of the job."""
    found = {document_name(scenario): {key: value for key, value in document.items() if key != "profile"}}
    if "profile" in document:
        found[PROFILE] = document["profile"]
    return found


def complete(document: dict[str, Any], bundle: Bundle) -> None:
    """Add the roofline to the profile in the document of a bench that a device made, and to the bundle's if it is that.

    A device may not have what counts operations. What prevents it is a warning: the profile stays as it is.
    """
    try:
        profile = document["profile"]
        if profile["roofline"]["basis"] is not None:
            return
        found = with_roofline(profile, [bundle], here=False)
        file = bundle.path / PROFILE
        if file.is_file() and strict_json(file.read_bytes()) == profile:
            bundle.record(PROFILE, found)
        document["profile"] = found
    except (AttributeError, LookupError, TypeError, ValueError) as error:  # a device's document may hold anything
        LOG.warning("the profile has no roofline: it cannot be read: %s", plain(repr(error))[:300])


def _engines(bundles: Sequence[Bundle], bench: Mapping[str, Any]) -> dict[str, Engine]:
    names, threads = list(bench["contestants"]), bench["threads"]
    if len(bundles) == 1:
        return {side: engine_of(bundles[0], side, threads) for side in names}
    return {name: engine_of(bundle, "efficient", threads) for name, bundle in zip(names, bundles, strict=True)}


def _cases(bundle: Bundle, bench: Mapping[str, Any]) -> Iterator[Case]:
    manifest, samples = bundle.manifest, bundle.arrays("eval")
    for each in bench["cells"]:
        sizes = {"length": each["length"], "batch_size": each["batch_size"]}
        yield Case(**sizes, feeds=bench_feeds(manifest, samples, **sizes, count=1))


def _contestant(name: str, engine: Engine, cases: Sequence[Case], bench: Mapping[str, Any]) -> dict[str, Any]:
    cells, method = [], None
    for case, timed in zip(cases, bench["cells"], strict=True):
        found = profile(f"{name} engine{case.at}", engine, dict(case.feeds[0]))
        if found is None:
            break
        method = found.method
        nodes = read_nodes(engine.root / found.graph)
        facts = {
            "length": case.length,
            "batch_size": case.batch_size,
            "graph": found.graph,
            "inference_ms": found.inference_ms,
            "timed_ms": timed["contestants"][name]["p50_ms"],
        }
        cells.append({**facts, **cell(attribute(found.operators, nodes), nodes)})
    return {
        "runtime": engine.runtime,
        "method": method,
        "unavailable": None if cells else NO_PROFILER,
        "cells": cells,
    }
