"""How many times faster a contestant is than the reference, in one case."""

from __future__ import annotations

from typing import Any

from edgeattn.bench.contestant import Case
from edgeattn.bench.measured import InCase
from edgeattn.bench.scenarios import Scenario
from edgeattn.bench.statistics import ratio


def speedup(scenario: Scenario, figure: str, case: Case, reference: InCase, other: InCase) -> dict[str, Any]:
    """{ratio, low, high, confidence, pairs} of the figure, reference / other; all but pairs are None where either of
    the two figures means nothing.
    """
    values = [scenario.by_pair(figure, seen, case) for seen in (reference, other) if scenario.comparable(seen)]
    found: dict[str, Any] = dict.fromkeys(("ratio", "low", "high", "confidence"))
    if len(values) == 2 and values[0] is not None and values[1] is not None:
        estimate = ratio(values[0], values[1])
        found = {
            "ratio": estimate.value,
            "low": estimate.low,
            "high": estimate.high,
            "confidence": estimate.confidence,
        }
    return {**found, "pairs": len(other.series)}
