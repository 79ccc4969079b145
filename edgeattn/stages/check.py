"""The stage that checks every candidate against the parsers of the target's releases, before any device is asked."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgeattn.bundle import Candidate
from edgeattn.errors import VerificationError
from edgeattn.manifest import SIDES
from edgeattn.stage import Job
from edgeattn.stages.evidence import bench_lengths
from edgeattn.stages.export import exported_interface
from edgeattn.store import write_json

if TYPE_CHECKING:
    from edgeattn.check.finding import Report
    from edgeattn.check.preflight import Built

LOG = logging.getLogger("edgeattn")
CHECK = "check.json"
SCHEMA_VERSION = 1


def check(job: Job) -> dict[str, Any]:
    """Writes check.json: per candidate the releases whose parser takes it, the findings, and the pre-flight.

    A candidate loses a runtime of which no release takes it; one that has no runtime left is left out, with a warning.
    For a target without TensorRT there is nothing to check, and no file.
    """
    from edgeattn.check import preflight

    candidates = [Candidate.model_validate_json(text) for text in job.facts("quantize")["candidates"]]
    candidates.sort(key=lambda candidate: SIDES.index(candidate.side))
    if not preflight.stands_for(job.device):
        return {
            "candidates": job.facts("quantize")["candidates"],
            "left_out": [],
            "note": "no TensorRT among the target's runtimes",
        }
    reports = _reports(job, candidates)
    built = _preflight(job, candidates)
    kept: list[Candidate] = []
    left_out: list[str] = []
    for candidate in candidates:
        lost = {*reports[candidate.name].lost(), *_refused_by_itself(built.get(candidate.name))}
        runtimes = tuple(name for name in candidate.runtimes if name not in lost)
        if runtimes:
            kept.append(candidate.model_copy(update={"runtimes": runtimes}))
        else:
            left_out.append(f"{candidate.name}: {_why(reports[candidate.name], built.get(candidate.name))}")
            LOG.warning("%s; it is left out", left_out[-1])
    for side in SIDES:
        if not any(candidate.side == side for candidate in kept):
            raise VerificationError(
                f"no graph of the {side} model is one that {job.device.name} takes: {'; '.join(left_out)}",
                where="check",
                fix="run `edgeattn check` on the graph, and follow its remedies",
            )
    document = {
        "schema": SCHEMA_VERSION,
        "target": job.device.name,
        "preflight": {"tensorrt_rtx": preflight.version()},
        "candidates": [
            {
                "name": candidate.name,
                "runtimes": [name for each in kept if each.name == candidate.name for name in each.runtimes],
                **reports[candidate.name].model_dump(mode="json"),
                "preflight": built[candidate.name].model_dump(mode="json") if candidate.name in built else None,
            }
            for candidate in candidates
        ],
        "left_out": left_out,
    }
    write_json(job.out / CHECK, document)
    return {
        "candidates": [candidate.model_dump_json() for candidate in kept],
        "left_out": left_out,
        "note": _note(reports, built, left_out),
    }


def _reports(job: Job, candidates: Sequence[Candidate]) -> dict[str, Report]:
    from edgeattn.check.run import Checker

    reports = {}
    with Checker(job.device) as checker:
        for candidate in candidates:
            graph = job.path("quantize") / candidate.folder / candidate.graph
            reports[candidate.name] = checker.check(graph, runtimes=candidate.runtimes, shared=True)
            together: dict[tuple[str, tuple[str, ...]], list[str]] = {}
            for error in reports[candidate.name].errors:
                together.setdefault((error.fact, error.releases), []).append(error.node)
            for (fact, releases), nodes in together.items():
                place = f"node {nodes[0]}" if len(nodes) == 1 else f"{len(nodes)} nodes, such as {nodes[0]}"
                LOG.warning("%s: %s: %s [%s]", candidate.name, place, fact, ", ".join(releases))
    return reports


def _preflight(job: Job, candidates: Sequence[Candidate]) -> dict[str, Built]:
    """Of the candidates for TensorRT; empty where TensorRT for RTX is not installed."""
    from edgeattn.check import preflight

    graphs = {
        candidate.name: job.path("quantize") / candidate.folder / candidate.graph
        for candidate in candidates
        if set(preflight.FAMILY) & set(candidate.runtimes)
    }
    if preflight.version() is None:
        LOG.info("pre-flight: not run, TensorRT for RTX is not installed: pip install 'edgeattn[rtx]'")
        return {}
    interface = exported_interface(job.facts("export"))
    shapes = preflight.shapes_for(interface, bench_lengths(job.recipe, interface), job.recipe.bench.batch_size)
    finished: list[str] = []

    def done(name: str) -> None:
        finished.append(name)
        job.progress.update(len(finished), len(graphs), name)

    built = preflight.fly(graphs, job.device, shapes, done)
    for name, each in built.items():
        for problem in each.problems:
            place = f"node {problem.node} ({problem.operator}): " if problem.node else ""
            LOG.warning("%s: pre-flight: %s%s", name, place, problem.reason)
    return built


def _refused_by_itself(built: Built | None) -> tuple[str, ...]:
    """The runtime that the pre-flight is the build of, where it failed. Of another TensorRT, it only warns."""
    return () if built is None or built.passed else ("tensorrt_rtx",)


def _why(report: Report, built: Built | None) -> str:
    found = [f"{error.operator or 'the graph'}: {error.fact}" for error in report.errors]
    found += [problem.reason for problem in built.problems] if built else []
    return "; ".join(dict.fromkeys(found[:3]))


def _note(reports: dict[str, Report], built: dict[str, Built], left_out: Sequence[str]) -> str:
    passed = sum(not report.errors for report in reports.values())
    note = f"{passed} of {len(reports)} candidates pass all parsers"
    if built:
        good = [each for each in built.values() if each.passed]
        note += f", {len(good)} of {len(built)} built for SM {next(iter(built.values())).built_for}"
    return note + (f", {len(left_out)} left out" if left_out else "")
