"""One row of the history: what a bench measured of one engine in one cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from edgeattn import __version__
from edgeattn.bundle import Bundle
from edgeattn.manifest import Digest
from edgeattn.validation import Count, Part

METRICS = ("p50_ms", "p90_ms", "energy_mj", "peak_memory_mb")  # for all of them, more is worse

_Text = Annotated[str, Field(max_length=1000)]
_Amount = Annotated[float, Field(ge=0)]


class Measurement(Part):
    """A row. None is unknown, or not measured.

    created_utc: of the bench. bundle, name: digest and name of the engine's bundle. engine: "efficient" or "dense".
    device: name of the bundle's target. power_mode: the board's, or the governor of its processor.
    edgeattn: version. protocol: "full" or "quick". unit, length: along the length axis.
    energy_mj: gross joules per inference, of the scope energy_scope.
    """

    created_utc: _Text
    bundle: Digest
    name: _Text
    engine: _Text
    device: _Text
    processor: _Text | None
    power_mode: _Text | None
    runtime: _Text
    method: _Text
    edgeattn: _Text
    protocol: _Text
    threads: Count | None
    unit: _Text | None
    length: Count | None
    batch_size: Count
    p50_ms: _Amount
    p90_ms: _Amount | None
    energy_mj: _Amount | None
    energy_scope: _Text | None
    peak_memory_mb: _Amount | None

    def value(self, metric: str) -> float | None:
        """The value of one of METRICS."""
        found: float | None = getattr(self, metric)
        return found


def measurements(document: Mapping[str, Any], bundles: Sequence[Bundle]) -> list[Measurement]:
    """The rows of a bench document; bundles: those that were timed.

    Raises KeyError, TypeError or ValueError where a device sent another document than that of a bench.
    """
    names = list(document["contestants"])  # of one bundle, its sides; else a name for each of the bundles, in order
    owners = dict.fromkeys(names, bundles[0]) if len(bundles) == 1 else dict(zip(names, bundles, strict=True))
    machine = document["machine"]
    rows = []
    for cell in document["cells"]:
        for name, found in cell["contestants"].items():
            facts = document["contestants"][name]
            manifest = owners[name].manifest
            engine = name if len(bundles) == 1 else "efficient"
            rows.append(
                Measurement(
                    created_utc=document["created_utc"],
                    bundle=facts["bundle"],
                    name=manifest.name,
                    engine=engine,
                    device=str(manifest.target["name"]),
                    processor=machine["cpu_model"],
                    power_mode=machine["power_mode"] or machine["governor"],
                    runtime=manifest.engines[engine].runtime,
                    method=facts["method"],
                    edgeattn=__version__,
                    protocol=document["protocol"]["name"],
                    threads=document["threads"],
                    unit=document["unit"],
                    length=cell["length"],
                    batch_size=cell["batch_size"],
                    p50_ms=found["p50_ms"],
                    p90_ms=found["p90_ms"],
                    energy_mj=found["energy_mj"],
                    energy_scope=found["energy_scope"],
                    peak_memory_mb=found["peak_memory_mb"],
                )
            )
    return rows
