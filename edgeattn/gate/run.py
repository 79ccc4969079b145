"""The gate of two bundles: accuracy, exact metrics, and latency and energy in pairs of fresh processes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from typing import Any

from edgeattn import __version__
from edgeattn.bench.bundles import require_same_inputs
from edgeattn.bench.conditions import Watch
from edgeattn.bench.contestant import Case, Contestant
from edgeattn.bench.engines import contestant
from edgeattn.bench.protocol import Protocol
from edgeattn.bench.session import opened
from edgeattn.bundle import Bundle
from edgeattn.devices.probe import machine_facts, usable_threads
from edgeattn.errors import InputError, VerificationError
from edgeattn.gate import energy, exact, paired
from edgeattn.gate.baseline import Baseline, require_here, require_same_target
from edgeattn.gate.cells import changed, shared_cases
from edgeattn.gate.document import EXIT_CODES, Document, Row, Side, command_line, verdict_of
from edgeattn.gate.exact import DISK, ELSEWHERE, MEMORY, NODES
from edgeattn.gate.protocols import protocol_of
from edgeattn.gate.rule import Rule
from edgeattn.gate.scoring import Scored, score_both
from edgeattn.gate.sequential import Key, Run, Source, decide
from edgeattn.gate.session import BASELINE, CANDIDATE, ENERGY, P50, P90, P99, SIDES, Pairs
from edgeattn.meters import Choice, choose_with_reasons
from edgeattn.progress import Progress, duration
from edgeattn.recognition import target_here
from edgeattn.registry import did_you_mean

TAIL_CATCH = 0.10  # of a p99
_METRICS = (P50, P90, P99, ENERGY, MEMORY, DISK, NODES, ELSEWHERE)  # beside those of the task


@dataclass(frozen=True)
class Options:
    """What a gate is asked for.

    ignore, catch: see `edgeattn.gate.rule.Rule`. lengths: the baseline's own when empty. advisory: metrics that are
    reported and decide nothing. memory_limit_mb: of the peak of a process. extra_work: share of it in the candidate.
    """

    ignore: float = 0.01
    catch: float = 0.05
    quick: bool = False
    lengths: tuple[int, ...] = ()
    threads: int | None = None
    advisory: frozenset[str] = frozenset()
    memory_limit_mb: float | None = None
    extra_work: float = 0.0

    @property
    def rule(self) -> Rule:
        return Rule(self.ignore, self.catch)

    def arguments(self) -> list[str]:
        """As a command line has them, without those that are the default."""
        given: list[str] = []
        for option, value, default in (
            ("--ignore", self.ignore * 100, 1.0),
            ("--catch", self.catch * 100, 5.0),
            ("--lengths", ",".join(map(str, self.lengths)), ""),
            ("--threads", self.threads, None),
            ("--memory-limit", self.memory_limit_mb, None),
            ("--extra-work", self.extra_work * 100, 0.0),
        ):
            if value != default:
                given += [option, f"{value:g}" if isinstance(value, float) else str(value)]
        for name in sorted(self.advisory):
            given += ["--advisory", name]
        return [*given, *(["--quick"] if self.quick else [])]


def gate(
    candidate: Bundle,
    baseline: Baseline,
    options: Options | None = None,
    *,
    calibration: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Document:
    """Whether `candidate` is worse than `baseline`, on this machine. Nothing is written.

    calibration: what to quote of this machine's. Raises DeviceError where the baseline does not run here as it did
    where it was saved, or the candidate is for another device; BundleError for one that is not built; InputError for
    bundles that cannot be compared.
    """
    started = time.monotonic()
    options, progress = options or Options(), progress or Progress()
    rule = options.rule
    candidate.require_built()
    require_here(baseline)
    require_same_target(baseline.bundle, candidate)
    profile = target_here(candidate)
    require_same_inputs([baseline.bundle, candidate])
    manifest = baseline.bundle.manifest
    if candidate.manifest.task.kind != manifest.task.kind:
        raise InputError(
            f"the candidate's task is {candidate.manifest.task.kind}, the baseline's {manifest.task.kind}",
            where=str(candidate.path),
            fix="compare bundles of the same task",
        )
    known = (*_METRICS, *manifest.task.metrics)
    for name in sorted(options.advisory - set(known)):
        raise InputError(
            f"{name!r} is not a metric of this gate", where="--advisory", fix=did_you_mean(name, list(known))
        )
    if options.lengths and manifest.length_axis is None:
        raise InputError("the inputs of the model have one size", where="--lengths", fix="leave --lengths out")
    machine, watch = machine_facts(), Watch()
    threads = options.threads or usable_threads()
    sides = {BASELINE: baseline.bundle, CANDIDATE: candidate}
    contestants = {side: contestant(bundle, "efficient", threads) for side, bundle in sides.items()}
    slowed = replace(contestants[CANDIDATE].engine, extra_work=options.extra_work)
    contestants[CANDIDATE] = replace(contestants[CANDIDATE], engine=slowed)
    chosen = choose_with_reasons(profile)
    protocol = protocol_of(options.quick, chosen.meter)
    cases = shared_cases(baseline.bundle, candidate.manifest, options.lengths, protocol)
    rows, runs = _Gate(options, rule, sides, contestants, cases, chosen, protocol, watch, progress).judged(
        energy_gone=energy.vanished(baseline.saved, chosen, profile), limit_bytes=profile.memory_bytes
    )
    rows = [
        _deciding(row, options.advisory) for row in (*changed(manifest, candidate.manifest, options.lengths), *rows)
    ]
    verdict = verdict_of(tuple(rows))
    return Document(
        created_utc=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        edgeattn=__version__,
        verdict=verdict,
        exit_code=EXIT_CODES[verdict],
        device=str(manifest.target.get("name")),
        unit=manifest.length_unit,
        machine=machine,
        candidate=_side(candidate, None),
        baseline=_side(baseline.bundle, baseline),
        rule={**asdict(rule), "tail_catch": TAIL_CATCH},
        protocol=protocol.facts(),
        threads=threads,
        seconds=round(time.monotonic() - started, 1),
        injected=options.extra_work,
        rows=tuple(rows),
        discarded=tuple(reason for run in runs for reason in run.discarded),
        conditions=watch.facts(next((run.invalid for run in runs if run.invalid is not None), None)),
        notes=(*_notes(baseline, candidate, options), *energy.notes(baseline.saved, chosen)),
        calibration=None if calibration is None else dict(calibration),
        reproduce=command_line(str(candidate.path), str(baseline.path), options.arguments()),
    )


@dataclass(frozen=True)
class _Gate:
    """One gate at work."""

    options: Options
    rule: Rule
    sides: Mapping[str, Bundle]
    contestants: Mapping[str, Contestant]
    cases: Sequence[Case]
    chosen: Choice
    protocol: Protocol
    watch: Watch
    progress: Progress

    def judged(self, *, energy_gone: Row | None, limit_bytes: int | None) -> tuple[list[Row], list[Run]]:
        """The rows, and the runs that they rest on. energy_gone: the row of an energy that vanished."""
        self.progress.stage("gate", "accuracy of both bundles")
        rows: list[Row] = []
        scored = score_both(self.sides, self.contestants, self.cases, self.options.ignore)
        if isinstance(scored, VerificationError):
            why = f"{scored.fact}: what it computes is wrong, so its timing means nothing"
            return [Row(metric="outputs", kind="outputs", blocking=True, verdict="FAIL", why=why)], []
        rows += scored.rows
        rows += [row for row in self._exact(scored) if row is not None]
        rows += [] if energy_gone is None else [energy_gone]
        rules, asking = self._rules()
        least, most = self.rule.looks[0].pairs, 2 * self.rule.looks[-1].pairs
        shortest, longest = (duration(self.protocol.seconds(len(self.cases), pairs)[0]) for pairs in (least, most))
        self.progress.stage("gate", f"{least} to {most} pairs in turn, about {shortest}, at most about {longest}")
        with ExitStack() as stack:
            sources: list[Pairs] = []

            def source(number: int, keys: frozenset[Key]) -> Source:
                if number:
                    self.progress.stage("gate", f"a second run, to confirm what failed: {_names(keys)}")
                lengths = {key.length for key in keys}
                cases = [case for case in self.cases if case.length in lengths]
                protocol = replace(self.protocol, seed=self.protocol.seed + number)
                session = stack.enter_context(opened(self.contestants, cases, protocol, self.chosen.meter, self.watch))
                sources.append(Pairs(session, cases, least, self.progress))
                return sources[-1]

            decisions, runs = decide(source, rules, asking=asking)
            scope = None if self.chosen.meter is None else self.chosen.meter.scope
            rows += paired.rows(decisions, runs, sources, asking, scope)
            rows += [row for row in self._memory(sources[0], limit_bytes) if row is not None]
        return rows, runs

    def _rules(self) -> tuple[dict[Key, Rule], frozenset[Key]]:
        """The rule of each metric that is timed, and those metrics that block."""
        rules: dict[Key, Rule] = {}
        asking: set[Key] = set()
        for case in self.cases:
            rules |= {Key(case.length, name): self.rule for name in (P50, P90)}
            rules[Key(case.length, P99)] = replace(self.rule, catch=max(TAIL_CATCH, self.rule.catch))
            blocking = [P50]
            if self.chosen.meter is not None:
                rules[Key(case.length, ENERGY)] = self.rule
                blocking += [ENERGY] if self.chosen.meter.scope != energy.ESTIMATE else []
            asking |= {Key(case.length, name) for name in blocking if name not in self.options.advisory}
        return rules, frozenset(asking)

    def _exact(self, scored: Scored) -> list[Row | None]:
        ignore = self.options.ignore
        disk = {side: self.contestants[side].disk_bytes for side in SIDES}
        count = {side: exact.nodes(self.sides[side]) for side in SIDES}
        elsewhere = {side: scored.runtimes[side].get(ELSEWHERE) for side in SIDES}
        return [
            exact.grown(DISK, "bytes", disk[CANDIDATE], disk[BASELINE], ignore),
            exact.grown(NODES, "nodes", count[CANDIDATE], count[BASELINE], ignore),
            exact.grown(ELSEWHERE, "nodes", elsewhere[CANDIDATE], elsewhere[BASELINE], 0.0),
        ]

    def _memory(self, source: Pairs, limit_bytes: int | None) -> list[Row | None]:
        asked = self.options.memory_limit_mb
        limits = {"--memory-limit": None if asked is None else asked * 1e6, "the memory of the device": limit_bytes}
        return [exact.memory(source.peak_bytes(place), case.length, limits) for place, case in enumerate(self.cases)]


def _deciding(row: Row, advisory: frozenset[str]) -> Row:
    """The row, which decides nothing where the user made its metric advisory."""
    return row.model_copy(update={"blocking": False}) if row.metric in advisory else row


def _names(keys: frozenset[Key]) -> str:
    ordered = sorted(keys, key=lambda key: (key.length or 0, key.metric))
    return ", ".join(key.metric if key.length is None else f"{key.metric} at {key.length}" for key in ordered)


def _side(bundle: Bundle, baseline: Baseline | None) -> Side:
    engine = bundle.manifest.engines["efficient"]
    saved = baseline.saved.model_dump(mode="json", by_alias=True) if baseline and baseline.saved else None
    return Side(
        name=bundle.manifest.name,
        path=str(baseline.path if baseline else bundle.path),
        bundle=bundle.manifest.digest,
        method=engine.method,
        runtime=engine.runtime,
        saved=saved,
    )


def _notes(baseline: Baseline, candidate: Bundle, options: Options) -> list[str]:
    notes = []
    if baseline.bundle.manifest.digest == candidate.manifest.digest:
        notes.append("both bundles have the same digest: the candidate is compared with itself")
    if baseline.saved is None:
        notes.append("the baseline is a plain bundle, whose machine is not recorded: see `edgeattn baseline save`")
    if options.extra_work:
        notes.append(
            f"{options.extra_work:.0%} extra work was done in each inference of the candidate, to test the gate"
        )
    return notes
