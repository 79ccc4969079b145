"""`edgeattn build`: engines of a bundle, made on its device and chosen by measurement."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edgeattn.build.choice import Row, because, choose
from edgeattn.build.engines import Engines
from edgeattn.build.scoring import Scores
from edgeattn.build.timing import Timings, time_trials
from edgeattn.build.trials import Trial, trials_of
from edgeattn.bundle import Bundle, EngineRef, Manifest, link, rebuild
from edgeattn.devices import fingerprint, machine_facts
from edgeattn.errors import BundleError, VerificationError
from edgeattn.manifest import CANDIDATES, GRAPHS, REPORTS, SIDES, Side
from edgeattn.progress import Progress
from edgeattn.recognition import left_out_here, target_here
from edgeattn.runtimes import RUNTIMES
from edgeattn.scratch import scratch
from edgeattn.store import Store

SCHEMA_VERSION = 1


def build(bundle: Bundle, *, store: Store, progress: Progress, keep_candidates: bool = False) -> dict[str, Any]:
    """Build the bundle in place, whole or not at all. Returns the build document, also recorded as build.json.

    {schema, created_utc, machine, runtimes: {name: version}, runtimes_left_out: {name: why}, lengths, batch_size,
     metric, floor, prefer, candidates: [{name, side, form, method, runtime, configuration, latency_ms: {tokens: ms},
     bytes, cosine, metrics, within_floor, state, why}], quantized: {candidate: facts of its method}, efficient,
     dense: {chosen, because}}

    store: keeps what this machine has measured, so that another floor measures nothing again.
    keep_candidates: keep the graphs that were not chosen, to build again elsewhere.
    Raises BundleError for a bundle without candidates, DeviceError when this machine is not its target or has none of
    its runtimes, VerificationError when no candidate of the efficient model keeps the accuracy floor.
    """
    manifest = bundle.manifest
    if not manifest.candidates:
        fact = "is built already: it holds engines and no candidates"
        raise BundleError(fact, where=str(bundle.path), fix="compile it again to build it for another device")
    target, left_out = target_here(bundle), left_out_here(bundle)
    for problem in left_out.values():
        progress.line(f"{problem}: its engines are not tried")
    machine, facts = fingerprint(), machine_facts()  # before this job loads it
    trials = list(trials_of(bundle.path, manifest.candidates, [each.name for each in target.runtimes], target.cpu))
    engines = Engines(bundle, machine, store, progress)
    timings = time_trials(bundle, trials, engines, machine, store, progress)
    scores = _Scored(bundle, engines, machine, store)
    rows: dict[Side, list[Row]] = {
        side: [
            Row(trial, dict(timings.latency_ms[trial.name]))
            for trial in trials
            if trial.candidate.side == side and trial.name in timings.latency_ms
        ]
        for side in SIDES
    }
    chosen: dict[Side, Row] = {}
    for side in SIDES:
        if rows[side]:
            chosen[side] = choose(rows[side], scores.floor, scores.of, prefer=manifest.prefer, side=side)
    if "efficient" not in chosen:
        reasons = "; ".join(f"{name}: {why}" for name, why in timings.failed.items())
        raise VerificationError(f"no candidate of the efficient model runs here: {reasons}", where=str(bundle.path))
    document = {
        "schema": SCHEMA_VERSION,
        "created_utc": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": facts,
        "runtimes": {each.name: RUNTIMES[each.name].version() for each in target.runtimes},
        "runtimes_left_out": left_out,
        "lengths": list(manifest.bench.lengths) if manifest.bench.lengths else None,
        "batch_size": manifest.bench.batch_size,
        "metric": scores.floor.metric.name,
        "floor": scores.floor.floor,
        "prefer": manifest.prefer,
        "candidates": _table(trials, timings, rows, chosen),
        "quantized": {candidate.name: candidate.facts for candidate in manifest.candidates if candidate.facts},
        **{
            str(side): {"chosen": row.trial.name, "because": because(row, rows[side], manifest.prefer, scores.floor)}
            for side, row in chosen.items()
        },
    }

    def fill(folder: Path) -> Manifest:
        return _fill(folder, bundle, engines, {side: row.trial for side, row in chosen.items()}, keep_candidates)

    built = rebuild(bundle, fill)
    bundle.manifest = built.manifest
    bundle.record("build.json", document)
    return document


class _Scored:
    """Scores of trials, kept in the store for each machine."""

    def __init__(self, bundle: Bundle, engines: Engines, machine: dict[str, Any], store: Store) -> None:
        self.floor = Scores(bundle)
        self._bundle, self._engines, self._machine, self._store = bundle, engines, machine, store

    def of(self, trial: Trial) -> dict[str, float | None]:
        reads = {
            "graph": trial.digests(self._bundle),
            "runtime": trial.runtime,
            "settings": dict(trial.configuration.settings),
            "data": self._bundle.manifest.files["eval.npz"].sha256,
            "task": self._bundle.manifest.task.kind,
            "machine": self._machine,
        }

        def score(_out: Path, work: Path) -> dict[str, Any]:
            with scratch("score") as engine:
                built = self._engines.make(trial, self._bundle.path / trial.candidate.folder, engine / "engine")
                return self.floor.of(built, trial.name)

        return self._store.run("score", 1, reads=reads, build=score).meta


def _table(
    trials: Sequence[Trial], timings: Timings, rows: dict[Side, list[Row]], chosen: dict[Side, Row]
) -> list[dict[str, Any]]:
    """All trials, each side's fastest first; those that do not run are last."""
    by_name = {row.trial.name: row for each in rows.values() for row in each}
    table = []
    for trial in trials:
        row, candidate = by_name.get(trial.name), trial.candidate
        latencies = row.latency_ms if row else {}
        table.append(
            {
                "name": trial.name,
                "side": candidate.side,
                "form": candidate.form,
                "method": candidate.method,
                "runtime": trial.runtime,
                "configuration": trial.configuration.name,
                "latency_ms": {str(length or "whole"): round(ms, 4) for length, ms in latencies.items()},
                "few_rounds": trial.name in timings.eliminated,
                "bytes": trial.bytes,
                "cosine": candidate.cosine,
                "metrics": row.metrics if row else None,
                "within_floor": row.right if row else None,
                "state": _state(row, chosen),
                "why": timings.failed.get(trial.name),
            }
        )
    return sorted(
        table, key=lambda row: (row["side"] != "efficient", row["state"] == "failed", sum(row["latency_ms"].values()))
    )


def _state(row: Row | None, chosen: dict[Side, Row]) -> str:
    if row is None:
        return "failed"
    if row in chosen.values():
        return "shipped"
    return "below the floor" if row.right is False else "not faster"


def _fill(folder: Path, bundle: Bundle, engines: Engines, chosen: dict[Side, Trial], keep_candidates: bool) -> Manifest:
    """The built bundle in the empty folder: the files of the old one are linked, the engines made."""
    manifest = bundle.manifest
    made = {file.name for trial in chosen.values() for file in (bundle.path / trial.candidate.folder).iterdir()}
    dropped = {"engine"} if keep_candidates else {"engine", CANDIDATES}
    for name in manifest.files:
        if name.partition("/")[0] not in dropped and name not in {*REPORTS, *made}:
            link(bundle.path / name, folder / name)
    references = {}
    for side, trial in chosen.items():
        for file in (bundle.path / trial.candidate.folder).iterdir():
            link(file, folder / file.name)
        path = f"engine/{side}"
        engines.make(trial, folder, folder / path)
        references[side] = EngineRef(
            runtime=trial.runtime, path=path, graph=GRAPHS[side],
            method=trial.candidate.method, least_cosine=trial.least_cosine,
        )  # fmt: skip
    kept = manifest.candidates if keep_candidates else ()
    return manifest.model_copy(update={"engines": references, "candidates": kept})
