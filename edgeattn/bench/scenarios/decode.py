"""Texts that are generated token by token: each token reads what the layers carry from the tokens before it.

Before a session, each engine reads a context of every length, of real texts, token by token, in a process of its own.
In the timed processes it starts from that context, reads a few more tokens, and goes back to the context.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from edgeattn.bench.contestant import Case, Contestant
from edgeattn.bench.disk import disk_bytes
from edgeattn.bench.engines import GOLDEN_OF, engine_of
from edgeattn.bench.inputs import Array, Arrays, bench_feeds, load_feeds, one_by_one, save_feeds
from edgeattn.bench.leg import Engine, Leg
from edgeattn.bench.measured import InCase
from edgeattn.bench.protocol import Protocol
from edgeattn.bench.scenarios.base import Block, Budget, Scenario
from edgeattn.errors import InputError, VerificationError
from edgeattn.metrics import row_cosines
from edgeattn.runtimes.decoder import POSITIONS, TOKENS, Decoder
from edgeattn.scratch import scratch

if TYPE_CHECKING:
    from edgeattn.bundle import Bundle
    from edgeattn.manifest import Manifest

RUN = 16  # tokens after a context, which has then grown by as many
GOLDEN = 2  # samples that are read token by token to check an engine
_HERE = "edgeattn.bench.scenarios.decode"


class Decode(Scenario):
    """See `Scenario`. An "inference" is a token; the length of a case is the tokens in the context before it."""

    name = "decode"
    figures: ClassVar[Mapping[str, str]] = {"ms_per_token": "the median time of one token"}
    columns = (("ms/token", "ms_per_token"), ("tokens/s", "tokens_per_s"), ("carried MB", "state_mb"))
    series = "nanoseconds of each token"

    def contestant(self, bundle: Bundle, side: str, threads: int) -> Contestant:
        """The graph of one token of a side. Raises InputError for a bundle that has none, with the reason."""
        manifest = bundle.manifest
        graph = next((graph for each, graph in manifest.decode.items() if each == side), None)
        if graph is None:
            fact, fix = _missing(manifest)
            raise InputError(fact, where=str(bundle.path), fix=fix)
        samples = {name: array[:GOLDEN] for name, array in bundle.arrays("samples").items()}
        return Reader(
            engine=Engine(bundle.path, bundle.path / graph.graph, "onnxruntime", threads, decode=graph),
            bundle=manifest.digest,
            method=graph.method,
            disk_bytes=disk_bytes(manifest.files, graph.graph, "engine/none"),
            golden=list(one_by_one(manifest, samples)),
            samples=samples,
            against=GOLDEN_OF[side],
            least_cosine=graph.least_cosine,
            whole=engine_of(bundle, side, threads),
            least_cosine_to_whole=min(graph.least_cosine, manifest.engines[side].least_cosine),
        )

    def case(self, manifest: Manifest, evaluation: Mapping[str, Array], length: int | None, count: int) -> Case:
        """A context of `length` tokens, and `count` different runs of tokens after it.

        Where the model takes no more tokens than these, the context is shorter by a run. Raises InputError.
        """
        longest = manifest.axes[manifest.length_axis].longest if manifest.length_axis else None
        if longest is not None and length is not None and length > longest:
            fact = f"the model takes {longest} tokens, and a context of {length} was asked for"
            raise InputError(fact, where="--lengths", fix=f"use lengths up to {longest - RUN}")
        if length is None:
            raise InputError("a context has a length", where="--lengths", fix="give one, such as --lengths 128")
        context = length if longest is None else max(1, min(length, longest - RUN))
        run = RUN if longest is None else min(RUN, longest - context)
        size = manifest.bench.batch_size
        feeds = bench_feeds(manifest, evaluation, length=context + run, batch_size=size, count=count)
        return Case(context, size, feeds)

    def samples(self, place: int, inference_ns: float, protocol: Protocol) -> int:
        """As `Scenario.samples`; what a warm-up times is a run of tokens."""
        return super().samples(place, inference_ns / RUN, protocol)

    def block(self, leg: Leg, place: int, budget: Budget) -> Block:
        """Read tokens for one block of a case."""
        found = leg.drive(
            f"{_HERE}:read", case=place,
            seconds=budget.seconds, at_least=budget.at_least, limit_s=budget.limit_s, at_most=budget.at_most,
        )  # fmt: skip
        return Block(found["ns"], {"carried_bytes": found["carried_bytes"]})

    def by_pair(self, figure: str, seen: InCase, case: Case) -> list[float] | None:
        """The median token of each pair, in ms."""
        return [ns / 1e6 for ns in seen.p50s_ns()]

    def facts(self, seen: InCase, case: Case) -> dict[str, Any]:
        """state_mb: what is carried of one text, after a context and a run."""
        ms = statistics.median(seen.p50s_ns()) / 1e6
        carried = max(block["carried_bytes"] for pair in seen.blocks for block in pair)
        return {"ms_per_token": ms, "tokens_per_s": 1e3 * case.batch_size / ms, "state_mb": carried / 1e6}

    @classmethod
    def notes(cls, document: Mapping[str, Any]) -> list[str]:
        """What a length, a column and a dense engine are here."""
        methods = {name: facts["method"] for name, facts in document["contestants"].items()}
        return [
            f"lengths are tokens in the context before the timed ones, which are {RUN} before it starts again",
            "both engines are graphs of one token in ONNX Runtime, in one method each "
            f"({', '.join(f'{name}: {method}' for name, method in methods.items())}), not chosen by a search",
        ]


def _missing(manifest: Manifest) -> tuple[str, str]:
    """Why a bundle has no graph of one token, and what to do."""
    whole = "use --scenario single, which times whole texts"
    if manifest.no_decode:
        return f"it has no graph that reads one token: {manifest.no_decode}", whole
    if manifest.task.kind != "text-generation":
        return f"a model for {manifest.task.kind} generates no tokens", "use another scenario"
    return "it has no graph that reads one token: it was compiled before there were any", "compile it again"


@dataclass(frozen=True)
class Reader(Contestant):
    """A graph of one token.

    whole: the side's engine of whole texts. contexts: length -> what is carried after a context that was read.
    """

    whole: Engine
    least_cosine_to_whole: float
    contexts: dict[int, Arrays] = field(default_factory=dict, compare=False)

    def feeds(self, case: Case) -> Sequence[Arrays]:
        """The runs of tokens after the context; the first has what is carried from it."""
        length = case.length or 0
        if length not in self.contexts:
            self.contexts[length] = self._context(case.feeds[0][TOKENS][:, :length])
        runs = []
        for feed in case.feeds:
            tokens = feed[TOKENS][:, length:]
            positions = np.broadcast_to(np.arange(length, length + tokens.shape[1]), tokens.shape)
            runs.append({TOKENS: tokens, POSITIONS: positions})
        runs[0].update(self.contexts[length])
        return runs

    def check(self, name: str, leg: Leg, cases: Sequence[Case]) -> None:
        """As `Contestant.check`, and that after each context the outputs are those of the engine of whole texts."""
        super().check(name, leg, cases)
        with scratch("whole") as folder:
            save_feeds(folder / "first.npz", cases[0].feeds[:1])
            with Leg(f"{name} engine of whole texts", self.whole, folder / "first.npz", quiet=True) as whole:
                answers = whole.answer([case.feeds[0] for case in cases])
        for case, expected in zip(cases, answers, strict=True):
            found = leg.answer(self.feeds(case)[:1])[0]
            least = min(
                float(row_cosines(each, expected[output][:, case.length :]).min()) for output, each in found.items()
            )
            if not least >= self.least_cosine_to_whole:
                raise VerificationError(
                    f"tokens after a context of {case.length} differ from those of the whole text: the cosine of their "
                    f"outputs is {least:.4f}, {self.least_cosine_to_whole} is required",
                    where=f"{name} engine",
                    fix="its timing means nothing; compile the bundle again",
                )

    def _context(self, tokens: Array) -> Arrays:
        """What the engine carries after it has read `tokens`, [B, N], one by one."""
        with scratch("context") as folder:
            asked, read = folder / "tokens.npz", folder / "carried.npz"
            save_feeds(asked, [{TOKENS: tokens}])
            with Leg(f"context of {tokens.shape[1]} tokens", self.engine, asked, quiet=True) as leg:
                leg.drive(f"{_HERE}:keep", to=str(read))
            return load_feeds(read)[0]


def keep(session: Decoder, feeds: Iterator[Arrays], to: str) -> dict[str, Any]:
    """In the process of the engine: read a text, and write what is carried after it to the file `to`."""
    for token in session.start(next(feeds)):
        session.step(token)
    save_feeds(Path(to), [session.carried()])
    return {}


def read(
    session: Decoder, feeds: Iterator[Arrays], seconds: float, at_least: int, limit_s: float, at_most: int
) -> dict[str, Any]:
    """In the process of the engine: the ns of single tokens, in whole runs, as `Leg.measure` counts inferences.

    {ns, carried_bytes: of one text at the end of a run}
    """
    session.run(_after_context(next(feeds)))  # untimed: it wakes the process and fills its caches
    series: list[int] = []
    start_ns = time.perf_counter_ns()
    while True:
        for token in session.start(_after_context(next(feeds))):
            before_ns = time.perf_counter_ns()
            session.step(token)
            series.append(time.perf_counter_ns() - before_ns)
        passed_s = (time.perf_counter_ns() - start_ns) / 1e9
        enough = len(series) >= at_most or (passed_s >= seconds and len(series) >= at_least)
        if enough or passed_s >= limit_s:
            return {"ns": series, "carried_bytes": session.carried_bytes}


def _after_context(feeds: Arrays) -> Arrays:
    """The inputs without the context, which the decoder has since the warm-up: copying it again would cost energy."""
    return {name: feeds[name] for name in (TOKENS, POSITIONS)}
