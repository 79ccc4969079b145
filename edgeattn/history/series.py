"""Measurements that can be compared with one another, in order of time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgeattn.history.measurement import Measurement


@dataclass(frozen=True, order=True)
class Key:
    """What measurements of a series share: another device, power mode, runtime or protocol is another series.

    Not among it: the bundle's digest, its method and the version of edgeattn, whose effects a history is there to show.
    scope: of energy; empty for other metrics. Unknown is empty, or 0.
    """

    name: str
    engine: str
    device: str
    processor: str
    power_mode: str
    runtime: str
    threads: int
    protocol: str
    length: int
    batch_size: int
    scope: str


@dataclass(frozen=True)
class Series:
    """The measurements of a key that have the metric; values: of it, one each."""

    key: Key
    metric: str
    rows: Sequence[Measurement]

    @property
    def values(self) -> list[float]:
        return [value for row in self.rows if (value := row.value(self.metric)) is not None]

    @property
    def cell(self) -> str:
        """Such as "128 tokens, batch 4"; "-" for single inputs of one size."""
        key, unit = self.key, self.rows[-1].unit or "long"
        parts = [f"{key.length} {unit}"] if key.length else []
        parts += [f"batch {key.batch_size}"] if key.batch_size > 1 else []
        return ", ".join(parts) or "-"

    @property
    def machine(self) -> str:
        """Device, processor, power mode and threads."""
        key = self.key
        parts = [key.device, key.processor, key.power_mode, f"{key.threads} threads" if key.threads else ""]
        return ", ".join(part for part in parts if part)


def series_of(rows: Iterable[Measurement], metric: str) -> list[Series]:
    """The series of a metric, sorted by their keys. rows: the oldest first."""
    found: dict[Key, list[Measurement]] = {}
    for row in rows:
        if row.value(metric) is not None:
            found.setdefault(_key(row, metric), []).append(row)
    return [Series(key, metric, found[key]) for key in sorted(found)]


def _key(row: Measurement, metric: str) -> Key:
    return Key(
        name=row.name,
        engine=row.engine,
        device=row.device,
        processor=row.processor or "",
        power_mode=row.power_mode or "",
        runtime=row.runtime,
        threads=row.threads or 0,
        protocol=row.protocol,
        length=row.length or 0,
        batch_size=row.batch_size,
        scope=(row.energy_scope or "") if metric == "energy_mj" else "",
    )
