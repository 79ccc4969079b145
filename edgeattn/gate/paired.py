"""The rows of latency and energy: decisions on pairs, with their figures."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from edgeattn.gate.document import FindingRow, Row
from edgeattn.gate.noise import largest_source
from edgeattn.gate.rule import Verdict
from edgeattn.gate.sequential import Decision, Key, Run
from edgeattn.gate.session import BASELINE, CANDIDATE, ENERGY, P50, Pairs

_ADVICE = "; see its noise, or raise --catch to what this machine can tell: `edgeattn gate BUNDLE --calibrate`"


def rows(
    decisions: Mapping[Key, Decision],
    runs: Sequence[Run],
    sources: Sequence[Pairs],
    blocking: frozenset[Key],
    scope: str | None,
) -> list[Row]:
    """A row for each metric that decides or was measured. sources: of the runs. scope: of the energies."""
    found = []
    for key in sorted(decisions, key=lambda each: (each.length or 0, each.metric != P50, each.metric)):
        decision = decisions[key]
        if key not in blocking and key in runs[0].lost:
            continue  # too few samples for this percentile, or no sensor
        row = _row(key, decision, runs, sources, key in blocking)
        found.append(row.model_copy(update={"scope": scope}) if key.metric == ENERGY else row)
    return found


def _row(key: Key, decision: Decision, runs: Sequence[Run], sources: Sequence[Pairs], blocking: bool) -> Row:
    final = decision.runs[-1] if decision.runs else None
    seen = sources[0].seen.get(key)
    values = {side: statistics.median(seen.values[side]) if seen else None for side in (CANDIDATE, BASELINE)}
    differences = runs[0].differences.get(key, [])
    why = decision.why
    if decision.verdict is Verdict.FAIL and final:
        times = "in two runs" if len(decision.runs) > 1 else "in one run"
        why = f"{final.ratio - 1:.1%} more {times}, at least {(final.low or 1) - 1:.1%} in the last"
    elif decision.verdict is Verdict.INCONCLUSIVE and blocking and all(run.invalid is None for run in runs):
        why = f"{decision.why}{_ADVICE}"
    return Row(
        metric=key.metric,
        length=key.length,
        kind="paired",
        blocking=blocking,
        verdict=decision.verdict.value,
        unit="mJ" if key.metric == ENERGY else "ms",
        candidate=values[CANDIDATE],
        baseline=values[BASELINE],
        ratio=final.ratio if final else None,
        low=final.low if final else None,
        high=final.high if final else None,
        pairs=sum(each.pairs for each in decision.runs),
        minimum_detectable=final.minimum_detectable if final else None,
        noise=largest_source(differences, seen.within) if seen else None,
        runs=tuple(
            FindingRow(
                verdict=each.verdict.value if each.verdict else None,
                ratio=each.ratio,
                low=each.low,
                high=each.high,
                pairs=each.pairs,
                alpha=each.alpha,
                ratios=tuple(round(math.exp(d), 6) for d in run.differences[key][: each.pairs]),
            )
            for each, run in zip(decision.runs, [run for run in runs if key in run.findings], strict=True)
        ),
        why=why,
    )
