"""The gate's decision over several metrics: pairs until each is decided, and a second run for what fails.

Pairs come from a `Source`: real processes (`edgeattn.gate.session`), a simulation or a test.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from edgeattn.bench.conditions import too_many
from edgeattn.gate.rule import Finding, Rule, Verdict


@dataclass(frozen=True, order=True)
class Key:
    """A metric in a cell. length: along the length axis; None for a model whose inputs have one size."""

    length: int | None
    metric: str


@dataclass(frozen=True)
class Pair:
    """One pair of fresh processes.

    differences: ln(candidate / baseline) of each metric that was measured. discarded: why the pair does not count.
    """

    differences: Mapping[Key, float]
    discarded: str | None = None


class Source(Protocol):
    """Where pairs come from; a run has its own."""

    def pair(self, wanted: frozenset[Key]) -> Pair:
        """The next pair, of fresh processes, with at least the metrics that are `wanted`."""
        ...


@dataclass
class Run:
    """One run: its findings, the differences that they rest on, and why pairs were discarded.

    lost: metrics that a pair did not give. invalid: why the whole run says nothing.
    """

    findings: dict[Key, Finding] = field(default_factory=dict)
    differences: dict[Key, list[float]] = field(default_factory=dict)
    discarded: list[str] = field(default_factory=list)
    lost: set[Key] = field(default_factory=set)
    invalid: str | None = None


@dataclass(frozen=True)
class Decision:
    """The verdict on one metric. runs: the findings that it rests on; the second one confirms a failure.

    why: of what is inconclusive.
    """

    verdict: Verdict
    runs: tuple[Finding, ...]
    why: str | None = None


def run(source: Source, rules: Mapping[Key, Rule], *, asking: frozenset[Key] | None = None) -> Run:
    """Take pairs until each metric of `rules` is decided, or the last look has passed. All rules have the same looks.

    A metric keeps the verdict of the look that decided it: another look would be another chance of a false alarm.
    asking: the metrics that ask for more pairs while they are undecided; all when None. The others are judged with
    the pairs that these need, or those of the first look.
    """
    asking = frozenset(rules) if asking is None else asking
    looks = next((rule.looks for rule in rules.values()), ())
    result = Run(differences={key: [] for key in rules})
    open_ = set(rules)
    taken = 0
    for place, look in enumerate(looks):
        if place and not open_ & asking:
            break
        while taken < look.pairs:
            found = source.pair(frozenset(open_ & asking or open_))
            if found.discarded is not None:
                result.discarded.append(found.discarded)
                result.invalid = too_many(result.discarded, taken + len(result.discarded), look.pairs)
                if result.invalid is not None:
                    return result
                continue
            taken += 1
            # A metric of a length that was not wanted is not measured any more, and keeps what it has.
            measured = {key.length for key in found.differences}
            result.lost |= {key for key in open_ if key not in found.differences and key.length in measured}
            open_ -= result.lost
            for key in open_ & found.differences.keys():
                result.differences[key].append(found.differences[key])
        for key in open_:
            if len(result.differences[key]) == look.pairs:
                result.findings[key] = rules[key].judge(result.differences[key], look)
        open_ = {key for key in open_ if result.findings[key].verdict is None}
    return result


def decide(
    source: Callable[[int, frozenset[Key]], Source],
    rules: Mapping[Key, Rule],
    *,
    asking: frozenset[Key] | None = None,
) -> tuple[dict[Key, Decision], list[Run]]:
    """The verdict on each metric, and the runs that it rests on.

    source: (number of the run, its metrics) -> where its pairs come from. asking: see `run`; the failure of one of
    these metrics has to repeat in a second run.
    """
    asking = frozenset(rules) if asking is None else asking
    first = run(source(0, frozenset(rules)), rules, asking=asking)
    runs = [first]
    failed = frozenset(key for key in asking if _verdict(first, key) is Verdict.FAIL)
    if failed and first.invalid is None:
        runs.append(run(source(1, failed), {key: rules[key] for key in failed}))
    return {key: _decision(key, runs if key in failed else runs[:1]) for key in rules}, runs


def _verdict(found: Run, key: Key) -> Verdict | None:
    return found.findings[key].verdict if key in found.findings else None


def _decision(key: Key, runs: list[Run]) -> Decision:
    findings = tuple(each.findings[key] for each in runs if key in each.findings)
    for number, each in enumerate(runs):
        if each.invalid is not None:
            return Decision(Verdict.INCONCLUSIVE, findings, each.invalid)
        if key in each.lost:
            return Decision(Verdict.INCONCLUSIVE, findings, "it could not be measured in every pair")
        verdict = each.findings[key].verdict
        if verdict is None or (number and verdict is not Verdict.FAIL):
            why = "the failure of the first run did not repeat in the second" if number else _undecided(findings[0])
            return Decision(Verdict.INCONCLUSIVE, findings, why)
        if verdict is Verdict.PASS:
            return Decision(Verdict.PASS, findings)
    return Decision(Verdict.FAIL, findings)


def _undecided(finding: Finding) -> str:
    return f"undecided after {finding.pairs} pairs"
