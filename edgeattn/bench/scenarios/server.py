"""Requests that arrive on their own, at random: what users of a service see.

Arrivals are those of a Poisson process, given their number: the same times for all contestants. A latency counts from
the moment at which its request was due, so that a slow answer also delays the requests behind it (Gil Tene's
"coordinated omission" is what one measures otherwise). One request is served at a time, in the order of arrival.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import isfinite
from typing import TYPE_CHECKING, Any, ClassVar

from edgeattn.bench.contestant import Case
from edgeattn.bench.inputs import Arrays
from edgeattn.bench.measured import InCase
from edgeattn.bench.protocol import Protocol
from edgeattn.bench.scenarios.base import Block, Budget, Scenario
from edgeattn.bench.statistics import FLOORS
from edgeattn.errors import InputError

if TYPE_CHECKING:
    from edgeattn.bench.leg import Leg, Turns
    from edgeattn.runtimes.base import Session

SHARE = 0.7  # of what the slowest contestant sustains: the rate where none is given
FEWEST = 10  # requests of a process; a rate that gives fewer is refused
GIVE_UP = 2.0  # times the span of the arrivals: requests that are not started by then are not waited for
MOST = 100_000  # requests of a block
# Linux wakes a sleeper some 0.06 ms late, more on a busy machine. Spinning for longer would take a core from the
# engine's threads.
SPIN_NS = 300_000
LEAD_NS = 2_000_000  # before the first arrival


class Server(Scenario):
    """See `Scenario`."""

    name = "server"
    figures: ClassVar[Mapping[str, str]] = {
        "p99_ms": "the 99th percentile of latency, from the moment at which a request is due",
        "p90_ms": "the 90th percentile of latency, from the moment at which a request is due",
        "p50_ms": "the median latency, from the moment at which a request is due",
    }
    columns = (("requests/s", "rate_per_s"), ("served/s", "completed_per_s"), ("busy", "utilization"))
    series = "nanoseconds from the moment at which each request was due to its answer"
    options = frozenset({"rate_per_s"})

    def __init__(self, rate_per_s: float | None = None) -> None:
        """rate_per_s: of the arrivals, at every length; None: SHARE of what the slowest contestant sustains there.

        Raises InputError for a rate that is not above 0.
        """
        if rate_per_s is not None and not (isfinite(rate_per_s) and rate_per_s > 0):
            raise InputError(f"{rate_per_s:g} requests per second is no rate", where="--rate", fix="use one above 0")
        self._given = rate_per_s
        self._rates: dict[int, float] = {}  # of the cases

    def protocol(self, protocol: Protocol) -> Protocol:
        """One long block, since each begins with an empty queue. Raises InputError for a rate with too few requests."""
        limit_s = protocol.measure_max_s
        if self._given is not None and self._given * limit_s < FEWEST:
            raise InputError(
                f"{self._given:g} requests per second are fewer than {FEWEST} in the {limit_s:g} s that a process is "
                "timed for at most",
                where="--rate",
                fix=f"use {FEWEST / limit_s:.2g} or more{'' if protocol.name == 'full' else ', or leave --quick out'}",
            )
        floor = FLOORS[99] if protocol.p99_s else FLOORS[90]
        return replace(protocol, blocks=1, block_s=protocol.blocks * protocol.block_s, samples=floor, p99_s=0.0)

    def prepare(self, place: int, legs: Mapping[str, Leg], turns: Turns, protocol: Protocol) -> None:
        """The rate of a case: the one that is given, or by the service time of the slowest contestant."""
        if self._given is not None:
            self._rates[place] = self._given
            return
        means_ns: dict[str, list[float]] = {name: [] for name in legs}
        for _ in range(3):
            for name, leg in legs.items():
                timed_ns = turns.give(leg).measure(seconds=protocol.window_s, case=place)
                means_ns[name].append(statistics.fmean(timed_ns))
        # The best of three: nothing makes an engine faster than it is, another load makes it slower.
        self._rates[place] = float(f"{SHARE * 1e9 / max(map(min, means_ns.values())):.3g}")

    def block(self, leg: Leg, place: int, budget: Budget) -> Block:
        """Send a leg the requests of one block."""
        due_ns = arrivals_ns(self._rates[place], budget)
        span_s = len(due_ns) / self._rates[place]
        give_up_ns = int(GIVE_UP * span_s * 1e9)
        found = leg.drive("edgeattn.bench.scenarios.server:serve", case=place, due_ns=due_ns, give_up_ns=give_up_ns)
        return Block(found.pop("ns"), {**found, "span_s": span_s}, inferences=found["served"])

    def comparable(self, seen: InCase) -> bool:
        """Not where the queue grows: its latencies are those of how long one waits."""
        return not _overloaded(seen)

    def facts(self, seen: InCase, case: Case) -> dict[str, Any]:
        """utilization: seconds of work that arrive per second; from 1 on, the queue grows and the engine is overloaded.
        unserved: requests of an overloaded engine that were given up on; their latencies are counted until then.
        wake_up_*: how late a request was started that waited for nothing: the driver's fault, and in its latency.
        """
        blocks = [block for pair in seen.blocks for block in pair]
        late_ns = [ns for block in blocks for ns in block["late_ns"]]
        return {
            "rate_per_s": blocks[0]["requests"] / blocks[0]["span_s"],
            "completed_per_s": statistics.median(
                block["served"] / max(block["until_s"], block["span_s"]) for block in blocks
            ),
            "utilization": _utilization(seen),
            "overloaded": _overloaded(seen),
            "unserved": sum(block["requests"] - block["served"] for block in blocks),
            "wake_up_p50_ms": statistics.median(late_ns) / 1e6 if late_ns else None,
            "wake_up_max_ms": max(late_ns) / 1e6 if late_ns else None,
        }

    @classmethod
    def notes(cls, document: Mapping[str, Any]) -> list[str]:
        """Where the rate comes from, which engines are overloaded, and how late the driver was."""
        cells = document["cells"]
        found = [
            f"requests arrive at random, one is served at a time; their rate: {' and '.join(rates)}"
            for rates in [dict.fromkeys(cell["rate_from"] for cell in cells)]
        ]
        for cell in cells:
            at = "" if cell["length"] is None else f" at {cell['length']} {document['unit'] or 'long'}"
            for name, engine in cell["contestants"].items():
                if engine["overloaded"]:
                    found.append(
                        f"OVERLOADED: {name} serves {_shown(engine['completed_per_s'])} of "
                        f"{_shown(engine['rate_per_s'])} requests per second{at}: its queue grows, and its latencies "
                        "with it for as long as one measures"
                    )
        late = [
            (engine["wake_up_p50_ms"], engine["wake_up_max_ms"])
            for cell in cells
            for engine in cell["contestants"].values()
            if engine["wake_up_p50_ms"] is not None
        ]
        if late:
            medians, most = zip(*late, strict=True)
            found.append(
                f"the driver started requests {max(medians):.2g} ms late in the median, {max(most):.2g} ms at most; "
                "that is part of the latencies"
            )
        return found

    def cell_facts(self, place: int) -> dict[str, Any]:
        """The rate of the arrivals, and where it comes from."""
        source = "given" if self._given is not None else f"{SHARE * 100:.0f} % of what the slowest contestant sustains"
        return {"rate_per_s": self._rates[place], "rate_from": source}


def arrivals_ns(rate_per_s: float, budget: Budget) -> list[int]:
    """When requests are due, in ns from the start, ascending.

    As many as a block takes at this rate, over the time that gives exactly the rate: arrivals of a Poisson process
    whose number is known are spread evenly at random.
    """
    most = min(budget.at_most, MOST, int(rate_per_s * budget.limit_s))
    count = max(3, min(most, max(budget.at_least, round(rate_per_s * budget.seconds))))
    chance = random.Random(budget.seed)
    return sorted(int(chance.random() * count / rate_per_s * 1e9) for _ in range(count))


def serve(session: Session, feeds: Iterator[Arrays], due_ns: list[int], give_up_ns: int) -> dict[str, Any]:
    """In the process of the engine: serve requests that are due at these ns from the start, one after the other.

    {ns: from when each was due to its answer, or to give_up_ns for those without one, requests, served,
     busy_s: spent on requests, until_s: from the start to the last answer,
     late_ns: how late each request that waited for nothing was started}
    """
    session.run(next(feeds))  # untimed: it wakes the process and fills its caches
    latencies_ns: list[int] = []
    late_ns: list[int] = []
    busy_ns = done_ns = 0
    start_ns = time.perf_counter_ns() + LEAD_NS
    for due in due_ns:
        feed = next(feeds)
        waited = _wait_until(start_ns + due)
        begun_ns = time.perf_counter_ns() - start_ns
        if begun_ns > give_up_ns and latencies_ns:
            break
        session.run(feed)
        done_ns = time.perf_counter_ns() - start_ns
        latencies_ns.append(done_ns - due)
        busy_ns += done_ns - begun_ns
        if waited:
            late_ns.append(begun_ns - due)
    served = len(latencies_ns)
    return {
        "ns": latencies_ns + [give_up_ns - due for due in due_ns[served:]],
        "requests": len(due_ns),
        "served": served,
        "busy_s": busy_ns / 1e9,
        "until_s": done_ns / 1e9,
        "late_ns": late_ns,
    }


def _wait_until(then_ns: int) -> bool:
    """Sleep until shortly before, then spin. Returns whether there was anything to wait for."""
    waited = False
    while (left_ns := then_ns - time.perf_counter_ns()) > 0:
        waited = True
        if left_ns > SPIN_NS:
            time.sleep((left_ns - SPIN_NS) / 1e9)
    return waited


def _shown(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def _utilization(seen: InCase) -> float:
    blocks = [block for pair in seen.blocks for block in pair]
    # Requests that were not served would have kept it busy too: for as long, on average, as those that were.
    busy_s = sum(block["busy_s"] * block["requests"] / block["served"] for block in blocks)
    return float(busy_s / sum(block["span_s"] for block in blocks))


def _overloaded(seen: InCase) -> bool:
    """Whether requests arrive faster than they are served, so that the queue grows for as long as one measures."""
    return _utilization(seen) >= 1
