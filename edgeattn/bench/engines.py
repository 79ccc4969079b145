"""The engines of a bundle, as a bench session times them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from edgeattn.bench.contestant import Contestant
from edgeattn.bench.disk import disk_bytes
from edgeattn.bench.inputs import one_by_one
from edgeattn.bench.leg import Engine
from edgeattn.bundle import Bundle
from edgeattn.errors import BundleError

GOLDEN_OF: Mapping[str, Literal["student", "teacher"]] = {"dense": "teacher", "efficient": "student"}


def engine_of(bundle: Bundle, side: str, threads: int | None = None) -> Engine:
    """The engine "dense" or "efficient" of a bundle."""
    bundle.require_built()
    reference = bundle.manifest.engines.get(side)
    if reference is None:
        raise BundleError(f"the bundle has no {side} engine", where=str(bundle.path), fix="compile it again")
    return Engine(bundle.path, bundle.path / reference.path, reference.runtime, threads)


def contestant(bundle: Bundle, side: str, threads: int | None = None) -> Contestant:
    """The engine "dense" or "efficient" of a bundle, checked against its golden samples."""
    engine, manifest = engine_of(bundle, side, threads), bundle.manifest
    reference, samples = manifest.engines[side], bundle.arrays("samples")
    return Contestant(
        engine=engine,
        bundle=manifest.digest,
        method=reference.method,
        disk_bytes=disk_bytes(manifest.files, reference.graph, reference.path),
        golden=list(one_by_one(manifest, samples)),
        samples=samples,
        against=GOLDEN_OF[side],
        least_cosine=reference.least_cosine,
    )
