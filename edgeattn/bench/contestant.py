"""A contestant of a bench session: a named engine, and what checks that its outputs are right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from edgeattn.bench.golden import drifts, repeats, require_fresh, require_golden
from edgeattn.bench.inputs import Array, Arrays
from edgeattn.bench.leg import Engine, Leg


@dataclass(frozen=True)
class Contestant:
    """An engine that is timed.

    bundle: the digest of the bundle that it belongs to. method: of its quantization. disk_bytes: of all its files.
    golden: inputs, one sample each. samples: the arrays "<against>.<output>" of their right outputs, as in samples.npz.
    least_cosine: of an output to its golden one.
    """

    engine: Engine
    bundle: str
    method: str
    disk_bytes: int
    golden: Sequence[Arrays]
    samples: Mapping[str, Array]
    against: Literal["student", "teacher"]
    least_cosine: float

    def feeds(self, case: Case) -> Sequence[Arrays]:
        """The inputs that it is timed with in a case."""
        return case.feeds

    def facts(self) -> dict[str, Any]:
        """As JSON, for the document."""
        return {
            "bundle": self.bundle,
            "method": self.method,
            "disk_bytes": self.disk_bytes,
            "golden_outputs_of": self.against,
            "least_cosine": self.least_cosine,
        }

    def check(self, name: str, leg: Leg, cases: Sequence[Case]) -> None:
        """Raise VerificationError unless the engine in `leg` is right on the golden samples and fresh in each case."""
        asked = [*self.golden, *(feed for case in cases for feed in repeats(self.feeds(case)))]
        answers = leg.answer(asked)
        end = len(self.golden)
        require_golden(
            drifts(answers[:end], self.samples, self.against),
            least_cosine=self.least_cosine,
            method=self.method,
            engine=f"{name} engine",
        )
        for case in cases:
            feeds = repeats(self.feeds(case))
            require_fresh(feeds, answers[end : end + len(feeds)], f"{name} engine{case.at}")
            end += len(feeds)


@dataclass(frozen=True)
class Case:
    """Inputs of one size. length: along the length axis; None for a model whose inputs have one size."""

    length: int | None
    batch_size: int
    feeds: Sequence[Arrays]

    @property
    def at(self) -> str:
        """ " at length 128", for messages."""
        return "" if self.length is None else f" at length {self.length}"
