"""What is predicted of a bundle or a recipe: its forms, at which lengths."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from edgeattn.bundle import Bundle
from edgeattn.errors import InputError
from edgeattn.estimate.forms import Form, forms_of

LENGTHS = (128, 512, 2048)


@dataclass(frozen=True)
class Asked:
    """axis: that lengths are along, None for a model whose inputs have one size; unit: what it counts.

    lengths: (None,) without an axis. longest: that the model takes, None where it has no limit.
    """

    forms: tuple[Form, ...]
    axis: str | None
    unit: str | None
    lengths: tuple[int | None, ...]
    longest: int | None

    def at(self, lengths: Iterable[int | None]) -> Asked:
        """The same at other lengths."""
        return replace(self, lengths=tuple(lengths))


def asked_of(bundle: Bundle, lengths: Sequence[int] | None = None) -> Asked:
    """What to predict of a bundle. Raises InputError for a length that the model does not take."""
    manifest = bundle.manifest
    axis = manifest.length_axis
    longest = manifest.axes[axis].longest if axis else None
    chosen = lengths_for(axis, longest, manifest.length_unit, lengths, manifest.bench.lengths)
    return Asked(forms_of(bundle), axis, manifest.length_unit, chosen, longest)


def lengths_for(
    axis: str | None, longest: int | None, unit: str | None, given: Sequence[int] | None, usual: Sequence[int] | None
) -> tuple[int | None, ...]:
    """The lengths to predict at: those `given`, else the `usual` ones, else LENGTHS as far as the model takes them."""
    if axis is None:
        if given:
            raise InputError("the model's inputs have one size", where="--lengths", fix="leave --lengths out")
        return (None,)
    over = [length for length in given or () if longest is not None and length > longest]
    if over:
        raise InputError(
            f"{over[0]} {unit} are more than the {longest} that the model takes",
            where="--lengths",
            fix="use at most that many; in a recipe, model.extend_positions allows more",
        )
    fitting = tuple(length for length in LENGTHS if longest is None or length <= longest)
    return tuple(sorted({*(given or usual or fitting or (longest or LENGTHS[0],))}))
