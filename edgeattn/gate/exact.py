"""Metrics that need no statistics: bytes, nodes and peak memory, each against a limit that the baseline sets."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from edgeattn.bundle import Bundle
from edgeattn.gate.document import Row
from edgeattn.onnxfile import below, read_onnx

MEMORY, DISK, NODES, ELSEWHERE = "memory", "disk", "nodes", "nodes_elsewhere"
# Peak memory of two runs of one engine differs by this much.
_MEMORY_SHARE, _MEMORY_BYTES = 1.10, 4 * 1024**2


def nodes(bundle: Bundle) -> int:
    """Operators in the graph of the efficient engine, with those of its subgraphs."""
    graph: Path = bundle.graph("efficient")
    return sum(1 for _ in below(read_onnx(graph), "node"))


def grown(metric: str, unit: str, candidate: int | None, baseline: int | None, ignore: float) -> Row | None:
    """Bytes or nodes: FAIL where the candidate has more than the baseline by more than `ignore`.

    None where neither has a value; FAIL where only the candidate has none.
    """
    if baseline is None:
        return None
    limit = math.floor(baseline * (1 + ignore))
    if candidate is None:
        return _row(metric, unit, None, baseline, limit, "it is not reported any more")
    why = f"{candidate} {unit}, at most {limit} are allowed: the baseline has {baseline}" if candidate > limit else None
    return _row(metric, unit, candidate, baseline, limit, why)


def memory(peaks: Mapping[str, float | None], length: int | None, limits: Mapping[str, float | None]) -> Row | None:
    """Peak memory: FAIL above the limit; None where the system does not report it.

    peaks: side -> bytes. limits: what sets one -> bytes; the smallest counts. Beside them, the baseline's own peak in
    this session sets one.
    """
    candidate, baseline = peaks["candidate"], peaks["baseline"]
    if candidate is None or baseline is None:
        return None
    known = {name: value for name, value in limits.items() if value is not None}
    known["the baseline's peak plus 10 %"] = max(baseline * _MEMORY_SHARE, baseline + _MEMORY_BYTES)
    name = min(known, key=lambda each: known[each])
    limit = known[name]
    why = f"{candidate / 1e6:.1f} MB, at most {limit / 1e6:.1f} MB are allowed: {name}" if candidate > limit else None
    return _row(MEMORY, "MB", candidate / 1e6, baseline / 1e6, limit / 1e6, why, length)


def _row(
    metric: str,
    unit: str,
    candidate: float | None,
    baseline: float,
    limit: float,
    why: str | None,
    length: int | None = None,
) -> Row:
    return Row(
        metric=metric,
        length=length,
        kind="exact",
        blocking=True,
        verdict="FAIL" if why else "PASS",
        unit=unit,
        candidate=candidate,
        baseline=baseline,
        limit=limit,
        ratio=candidate / baseline if candidate is not None and baseline else None,
        why=why,
    )
