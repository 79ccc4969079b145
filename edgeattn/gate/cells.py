"""The cells of a gate: the lengths and metrics that both bundles have, and those that only one has."""

from __future__ import annotations

from collections.abc import Sequence

from edgeattn.bench.contestant import Case
from edgeattn.bench.inputs import bench_feeds
from edgeattn.bench.protocol import Protocol
from edgeattn.bundle import Bundle, Manifest
from edgeattn.gate.document import Row
from edgeattn.gate.session import P50


def shared_cases(baseline: Bundle, candidate: Manifest, asked: Sequence[int], protocol: Protocol) -> list[Case]:
    """The lengths that both bundles time, with the baseline's held-out samples as inputs; the shortest first.

    asked: lengths to time in place of the bundles' own.
    """
    manifest = baseline.manifest
    lengths: tuple[int | None, ...] = tuple(asked) or tuple(
        length for length in manifest.bench.lengths or (None,) if length in (candidate.bench.lengths or (None,))
    )
    evaluation, batch_size = baseline.arrays("eval"), manifest.bench.batch_size
    return [
        Case(
            length,
            batch_size,
            bench_feeds(manifest, evaluation, length=length, batch_size=batch_size, count=protocol.feeds),
        )
        for length in sorted(set(lengths), key=lambda each: each or 0)
    ]


def changed(before: Manifest, now: Manifest, asked: Sequence[int]) -> list[Row]:
    """Lengths and accuracy metrics that only one of the bundles has: gone from the candidate, or new in it."""
    found: list[tuple[str, int | None, bool]] = [
        (P50, length, length in (before.bench.lengths or ()))
        for length in sorted(set(before.bench.lengths or ()) ^ set(now.bench.lengths or ()))
        if not asked
    ]
    found += [
        (name, None, name in before.task.metrics) for name in sorted(set(before.task.metrics) ^ set(now.task.metrics))
    ]
    return [
        Row(
            metric=metric, length=length, kind="vanished" if gone else "new", blocking=gone,
            verdict="FAIL" if gone else None,
            why="the baseline has it, the candidate does not" if gone else "new: recorded, not judged",
        )
        for metric, length, gone in found
    ]  # fmt: skip
