"""Checks of a timed engine's outputs, on the golden samples and on repeated inputs.

An engine that is wrong, or that caches its outputs, is not fast but broken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgeattn.bench.inputs import Array, Arrays
from edgeattn.errors import BundleError, VerificationError
from edgeattn.jsonfile import COPY_AGAIN
from edgeattn.metrics import row_cosines

REPEAT_TOLERANCE = 1e-4  # relative; threads may sum in another order


@dataclass(frozen=True)
class Drift:
    """How far an output is from its golden values. None where it is not finite."""

    against: str  # "student" or "teacher"
    max_abs: float | None
    min_cosine: float | None
    mean_cosine: float | None
    non_finite: int  # values that are NaN or infinite

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def drifts(outputs: Sequence[Arrays], samples: Mapping[str, Array], against: str) -> dict[str, Drift]:
    """Each output's drift from "<against>.<output>" of samples.npz, where that exists.

    outputs: for the golden samples, in order. An output shorter than the padded golden one is compared over its own
    length. Raises BundleError when there is no golden array.
    """
    found = {
        name: _drift([output[name] for output in outputs], samples[f"{against}.{name}"], against)
        for name in outputs[0]
        if f"{against}.{name}" in samples
    }
    if not found:
        raise BundleError(f"samples.npz has no golden outputs of the {against} for {sorted(outputs[0])}")
    return found


def _drift(outputs: Sequence[Array], golden: Array, against: str) -> Drift:
    if sum(map(len, outputs)) != len(golden):
        raise BundleError(f"{sum(map(len, outputs))} outputs for {len(golden)} golden ones of the {against}")
    largest, cosines, non_finite, start = 0.0, [], 0, 0
    widest = [max(sizes) for sizes in zip(*(output.shape[1:] for output in outputs), strict=True)]
    shaped = golden.ndim == len(widest) + 1 and all(a >= b for a, b in zip(golden.shape[1:], widest, strict=True))
    if not (shaped and golden.dtype.kind == "f" and np.isfinite(golden).all()):
        raise BundleError(
            f"the golden outputs of the {against} are {golden.dtype} of shape {list(golden.shape)}, or not finite; "
            f"the engine's are of shape {[len(golden), *widest]}",
            fix=COPY_AGAIN,
        )
    for output in outputs:
        expected = golden[start : start + len(output)]
        expected = expected[tuple(slice(size) for size in output.shape)]
        start += len(output)
        non_finite += int(output.size - np.isfinite(output).sum())
        if non_finite == 0:
            largest = max(
                largest, float(np.abs(output.astype(np.float64) - expected.astype(np.float64)).max(initial=0))
            )
            cosines += list(row_cosines(output, expected))
    if non_finite:
        return Drift(against, None, None, None, non_finite)
    return Drift(against, largest, float(np.min(cosines)), float(np.mean(cosines)), 0)


def require_golden(found: Mapping[str, Drift], *, least_cosine: float, method: str, engine: str) -> None:
    """Raise VerificationError when an output differs from its golden output.

    least_cosine: that an engine of this quantization method has at least. engine: its name.
    """
    for name, drift in found.items():
        if drift.non_finite:
            raise VerificationError(
                f"output {name!r} has {drift.non_finite} values that are not finite",
                where=engine,
                fix="compile the bundle again",
            )
        if drift.min_cosine is None or drift.min_cosine < least_cosine:
            raise VerificationError(
                f"output {name!r} differs from the {drift.against}'s: the cosine on the worst golden sample "
                f"is {drift.min_cosine:.4f}, {least_cosine} is required for {method}",
                where=engine,
                fix="its timing means nothing; compile the bundle again",
            )


def repeats(feeds: Sequence[Arrays]) -> list[Arrays]:
    """The feeds of the repeat-input check: one, another of the same shape, and the first again."""
    return [feeds[0], feeds[1 % len(feeds)], feeds[0]]


def require_fresh(feeds: Sequence[Arrays], outputs: Sequence[Arrays], engine: str) -> None:
    """Raise VerificationError when the outputs of `repeats` show a cache or state: another input must change
    the output, and the same input must repeat it. Outputs that are not finite are refused too.
    """
    first, other, again = outputs
    for name in first:
        if not all(np.isfinite(output[name]).all() for output in outputs):
            raise VerificationError(f"output {name!r} has values that are not finite", where=engine)
    if any(not np.array_equal(feeds[0][name], feeds[1][name]) for name in feeds[0].keys() & feeds[1].keys()):
        stuck = all(np.array_equal(first[name], other[name]) for name in first)
        if stuck:
            raise VerificationError(
                "two different inputs gave the same output: the engine caches, or ignores its input",
                where=engine,
                fix="its timing means nothing; compile the bundle again",
            )
    for name in first:
        scale = float(np.abs(first[name]).max(initial=0))
        if not np.allclose(first[name], again[name], rtol=0, atol=REPEAT_TOLERANCE * scale):
            raise VerificationError(
                f"output {name!r} differs when the same input is given again: the engine keeps state",
                where=engine,
            )
