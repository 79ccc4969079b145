"""Bench sessions of bundles: dense and efficient of one, or the shipped engines of several."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeattn.bench.protocol import Protocol
from edgeattn.bench.run import run
from edgeattn.bench.scenarios import Scenario, scenario_of
from edgeattn.bundle import Bundle
from edgeattn.devices.probe import usable_threads
from edgeattn.errors import InputError
from edgeattn.meters import choose_with_reasons, slowness
from edgeattn.progress import Progress, duration
from edgeattn.recognition import target_here


def bench(
    bundles: Sequence[Bundle],
    *,
    lengths: Sequence[int] | None = None,
    pairs: int | None = None,
    threads: int | None = None,
    scenario: Scenario | None = None,
    protocol: Protocol | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The bench document of one bundle, dense beside efficient, or of the shipped engines of several.

    The reference is dense, or the first bundle's engine. Inputs are the first bundle's held-out samples.
    lengths: along the length axis; pairs: of fresh processes; the first bundle's own when None.
    threads: the usable cores when None. scenario: single requests when None. protocol: the full one when None.
    Raises BundleError for a bundle that is not built; DeviceError when this machine is not a bundle's target;
    InputError for bundles whose inputs differ, and for lengths of a model whose inputs have one size; what
    `edgeattn.bench.run.run` raises.
    """
    for bundle in bundles:
        bundle.require_built()
    first = bundles[0]
    manifest = first.manifest
    if lengths and manifest.length_axis is None:
        raise InputError("the inputs of the model have one size", where="--lengths", fix="leave --lengths out")
    require_same_inputs(bundles)
    profiles = [target_here(bundle) for bundle in bundles]
    threads, scenario, protocol = threads or usable_threads(), scenario or scenario_of(), protocol or Protocol()
    if len(bundles) == 1:
        contestants = {side: scenario.contestant(first, side, threads) for side in ("dense", "efficient")}
    else:
        contestants = {
            name: scenario.contestant(bundle, "efficient", threads)
            for name, bundle in zip(names([bundle.path for bundle in bundles]), bundles, strict=True)
        }
    evaluation = first.arrays("eval")
    cases = [
        scenario.case(manifest, evaluation, length, protocol.feeds)
        for length in dict.fromkeys(lengths or manifest.bench.lengths or (None,))
    ]
    chosen, pairs = choose_with_reasons(profiles[0]), pairs or manifest.bench.pairs
    if progress:
        windows = 0.0 if chosen.meter is None else slowness(chosen.meter)
        timed = scenario.protocol(protocol)
        least, most = timed.seconds(len(cases), pairs, len(contestants), slowness=windows)
        what = "dense and efficient" if len(bundles) == 1 else f"{len(bundles)} bundles"
        progress.stage("bench", f"{what} in turn, takes {duration(least)} to {duration(most)}")
    document = run(
        contestants,
        cases,
        reference=next(iter(contestants)),
        pairs=pairs,
        unit=manifest.length_unit,
        scenario=scenario,
        meter=chosen.meter,
        protocol=protocol,
        progress=progress,
    )
    return {**document, "meters_passed_over": chosen.passed_over}


def names(paths: Sequence[Path]) -> list[str]:
    """A name for each of several bundles: the last parts of their paths, as many as tell them apart."""
    parts = [path.resolve().parts for path in paths]
    for count in range(1, max(map(len, parts))):
        found = ["/".join(each[-count:]) for each in parts]
        if len(set(found)) == len(found):
            return found
    raise InputError(f"{paths[0]} is named twice", fix="name each bundle once")


def require_same_inputs(bundles: Sequence[Bundle]) -> None:
    first = {spec.name: (spec.dtype, spec.dims) for spec in bundles[0].manifest.inputs}
    for bundle in bundles[1:]:
        found = {spec.name: (spec.dtype, spec.dims) for spec in bundle.manifest.inputs}
        for name in sorted(first.keys() | found.keys()):
            a, b = (_shown(each.get(name)) for each in (first, found))
            if a != b:
                raise InputError(
                    f"input {name!r} is {b} here and {a} in {bundles[0].path}: their timings cannot be compared",
                    where=str(bundle.path),
                    fix="name bundles of models with the same inputs",
                )


def _shown(tensor: tuple[str, tuple[int | str, ...]] | None) -> str:
    return "missing" if tensor is None else f"{tensor[0]} {list(tensor[1])}"
