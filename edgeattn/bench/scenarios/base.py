"""The contract of a scenario: how an engine is driven while it is timed, and which figure is compared.

An object of it belongs to one session and runs there. Where it drives an engine in another way than `Leg.measure`,
its file has a function for the process of the engine, which `block` has called by `Leg.drive`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from edgeattn.bench import engines
from edgeattn.bench.contestant import Case, Contestant
from edgeattn.bench.inputs import Array, bench_feeds
from edgeattn.bench.measured import InCase
from edgeattn.bench.protocol import Protocol
from edgeattn.bench.statistics import FLOORS

if TYPE_CHECKING:
    from edgeattn.bench.leg import Leg, Turns
    from edgeattn.bundle import Bundle
    from edgeattn.manifest import Manifest

OPTIONS = {"rate_per_s": "--rate", "batch_size": "--batch-size"}  # of scenarios, on the command line
PERCENTILES = {"p50_ms": 50, "p90_ms": 90, "p99_ms": 99}


@dataclass(frozen=True)
class Budget:
    """How long a block takes: `seconds` and at least `at_least` inferences; it ends early after limit_s, or at_most.

    seed: of what is random in it; the same for all contestants.
    """

    seconds: float
    at_least: int
    limit_s: float
    at_most: int
    seed: str


@dataclass(frozen=True)
class Block:
    """What a block gave. ns: the scenario's series, one item per inference. facts: of the block, as JSON.

    inferences: that were run, where they are not as many as there are items.
    """

    ns: list[int]
    facts: Mapping[str, Any] = field(default_factory=dict)
    inferences: int | None = None


class Scenario:
    """A way to drive engines. Its subclass is one file, and a line of `SCENARIOS`.

    name: the file's. figures: keys of a contestant's facts that contestants can be compared by -> what they are in
    words; less is better, and the first that every contestant has counts. columns: (head, key of a contestant's facts)
    of its table beside the usual ones. series: what the raw series holds. options: the parameters of its constructor.
    """

    name: ClassVar[str]
    figures: ClassVar[Mapping[str, str]]
    columns: ClassVar[Sequence[tuple[str, str]]] = ()
    series: ClassVar[str] = "nanoseconds of each timed inference"
    options: ClassVar[frozenset[str]] = frozenset()

    def protocol(self, protocol: Protocol) -> Protocol:
        """How long this scenario warms up and times, where a session of single requests does it by `protocol`."""
        return protocol

    def contestant(self, bundle: Bundle, side: str, threads: int) -> Contestant:
        """The engine "dense" or "efficient" that this scenario times. Raises BundleError where there is none."""
        return engines.contestant(bundle, side, threads)

    def case(self, manifest: Manifest, evaluation: Mapping[str, Array], length: int | None, count: int) -> Case:
        """`count` different inputs of one length, of a bundle's held-out samples. Raises InputError."""
        size = manifest.bench.batch_size
        feeds = bench_feeds(manifest, evaluation, length=length, batch_size=size, count=count)
        return Case(length, size, feeds)

    def prepare(self, place: int, legs: Mapping[str, Leg], turns: Turns, protocol: Protocol) -> None:
        """Measure what the blocks of a case depend on: once in a session, when all legs are warm."""

    def samples(self, place: int, inference_ns: float, protocol: Protocol) -> int:
        """The fewest inferences of a process. inference_ns: the median of one, at the end of the warm-up."""
        for_p99 = FLOORS[99] * inference_ns <= protocol.p99_s * 1e9
        return max(protocol.samples, FLOORS[99]) if for_p99 else protocol.samples

    def block(self, leg: Leg, place: int, budget: Budget) -> Block:
        """Drive a leg for one block of a case."""
        return Block(
            leg.measure(
                seconds=budget.seconds,
                at_least=budget.at_least,
                limit_s=budget.limit_s,
                at_most=budget.at_most,
                case=place,
            )
        )

    def by_pair(self, figure: str, seen: InCase, case: Case) -> list[float] | None:
        """The figure in each pair; None where a pair has too few samples for it."""
        return seen.percentiles_ms(PERCENTILES[figure])

    def comparable(self, seen: InCase) -> bool:
        """Whether the figure of a contestant means anything; if not, its speedups are unknown."""
        return True

    def facts(self, seen: InCase, case: Case) -> dict[str, Any]:
        """The scenario's own facts of a contestant in a case, as JSON."""
        return {}

    @classmethod
    def notes(cls, document: Mapping[str, Any]) -> list[str]:
        """Sentences on how to read a document of this scenario, for below its table."""
        return []

    def cell_facts(self, place: int) -> dict[str, Any]:
        """The scenario's own facts of a case, as JSON."""
        return {}
