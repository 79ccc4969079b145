"""Change points of a series, by Apache Otava: E-divisive means with Student's t-test, as in Hunter (Fleming et al.)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WINDOW = 50  # measurements that are looked at together: Otava's default
MAX_P = 0.001  # of no change: Otava's default
LEAST = 0.01  # relative; smaller changes are what `edgeattn gate` ignores too


@dataclass(frozen=True)
class Change:
    """From measurement `index` on, the mean is `after`; it was `before`."""

    index: int
    before: float
    after: float
    p: float

    @property
    def relative(self) -> float:
        return self.after / self.before - 1


def available() -> bool:
    """Whether Apache Otava is installed."""
    try:
        import otava  # noqa: F401
    except ImportError:
        return False
    return True


def changes(values: Sequence[float]) -> list[Change]:
    """The change points of a series, the oldest first. Raises ImportError without Apache Otava."""
    from otava.analysis import compute_change_points

    found, _ = compute_change_points(list(values), window_len=WINDOW, max_pvalue=MAX_P, min_magnitude=LEAST)
    return [
        Change(int(each.index), float(each.stats.mean_1), float(each.stats.mean_2), float(each.stats.pvalue))
        for each in found
        if each.stats.mean_1 > 0
    ]
