"""What a gate is worth on this machine: its false alarms, and the slowdowns that it catches.

Pairs are measured with nothing changed, and with real extra work in the candidate (`edgeattn.bench.extra_work`). Whole
gates are then drawn from those pairs, many more than anyone would wait for.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, ValidationError

from edgeattn import __version__
from edgeattn.bench.conditions import MOST_DISCARDED, Watch
from edgeattn.bench.contestant import Case
from edgeattn.bench.engines import contestant
from edgeattn.bench.inputs import bench_feeds
from edgeattn.bench.protocol import Protocol
from edgeattn.bench.session import opened
from edgeattn.bench.statistics import hodges_lehmann
from edgeattn.bundle import Bundle
from edgeattn.devices import fingerprint
from edgeattn.devices.probe import usable_threads
from edgeattn.errors import DeviceError, InconclusiveError
from edgeattn.gate.protocols import protocol_of
from edgeattn.gate.rule import Rule, Verdict, standard_deviation
from edgeattn.gate.sequential import Key, Pair, decide
from edgeattn.gate.session import BASELINE, CANDIDATE, P50, Pairs
from edgeattn.jsonfile import read_json
from edgeattn.manifest import Digest
from edgeattn.progress import Progress, duration
from edgeattn.recognition import target_here
from edgeattn.store import Store, disk_errors, write_json
from edgeattn.validation import Many, Part

SCHEMA_VERSION = 1
PAIRS = 40  # measured of each: as many as a run takes at most
GATES = 2000  # drawn from them
SHARES = (0.05, 0.10)  # of extra work
CATCHES = (0.02, 0.03, 0.05, 0.08, 0.10, 0.15, 0.20)
_WANTED = 0.95  # of the gates: caught at `catch`, and passed with no change
_GATES_PER_CATCH = 500


class Injected(Part):
    """Extra work: its share, the slowdown that was measured with its 95 % interval, and how many gates caught it."""

    share: float
    measured: float
    low: float | None
    high: float | None
    caught: int


class Calibration(Part):
    """The calibration file.

    machine: digest of the fingerprint. spread: standard deviation of a difference with no change. no_change, ignored:
    verdict -> gates of `gates`, with no change and with one of `ignore`. honours: the smallest of CATCHES that is
    caught in 95 % of the gates, while 95 % pass with no change; None where there is none.
    """

    schema_version: Literal[1] = Field(default=1, alias="schema")
    created_utc: str
    edgeattn: str
    machine: Digest
    cpu_model: str | None
    bundle: Digest
    name: str
    protocol: str
    length: int | None
    pairs: Annotated[int, Field(ge=2)]
    discarded: int
    spread: float
    ignore: float
    catch: float
    gates: int
    no_change: dict[str, int]
    ignored: dict[str, int]
    injected: Many[Injected]
    honours: float | None
    differences: dict[str, Many[float]]


def calibrate(
    bundle: Bundle, *, quick: bool, pairs: int = PAIRS, rule: Rule | None = None, progress: Progress | None = None
) -> Calibration:
    """Measure what a gate of this bundle is worth here, at its shortest length.

    Raises InconclusiveError where more than a fifth of the pairs were discarded.
    """
    rule, progress = rule or Rule(), progress or Progress()
    bundle.require_built()
    target_here(bundle)
    manifest, protocol = bundle.manifest, protocol_of(quick, None)
    length = min(manifest.bench.lengths) if manifest.bench.lengths else None
    batch_size = manifest.bench.batch_size
    feeds = bench_feeds(manifest, bundle.arrays("eval"), length=length, batch_size=batch_size, count=protocol.feeds)
    shares = (0.0, *SHARES)
    least, most = (duration(seconds) for seconds in protocol.seconds(1, pairs * len(shares)))
    progress.stage("calibrate", f"{pairs} pairs with no change and with extra work each, takes {least} to {most}")
    found, discarded = _measured(bundle, Case(length, batch_size, feeds), protocol, shares, pairs, progress)
    spread = standard_deviation(found[0.0])
    if len(found[0.0]) < pairs * (1 - MOST_DISCARDED) or spread is None:
        worst = max(discarded, key=discarded.count, default="none")
        raise InconclusiveError(
            f"{len(found[0.0])} of {pairs} pairs can be used; discarded were {len(discarded)}, such as: {worst}",
            where="calibrate",
            fix="end other work on this machine, fix its clocks, cool it, or leave --quick out",
        )
    no_change = pool(found[0.0], symmetric=True)
    return Calibration(
        created_utc=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        edgeattn=__version__,
        machine=_machine(),
        cpu_model=fingerprint()["cpu_model"],
        bundle=manifest.digest,
        name=manifest.name,
        protocol=protocol.name,
        length=length,
        pairs=len(found[0.0]),
        discarded=len(discarded),
        spread=spread,
        ignore=rule.ignore,
        catch=rule.catch,
        gates=GATES,
        no_change=drawn(no_change, rule, GATES),
        ignored=drawn(no_change + math.log1p(rule.ignore), rule, GATES),
        injected=tuple(_injected(share, found[share], rule) for share in SHARES if len(found[share]) >= 2),
        honours=honoured(no_change, rule.ignore),
        differences={f"{share:g}": tuple(round(each, 6) for each in series) for share, series in found.items()},
    )


def _measured(
    bundle: Bundle, case: Case, protocol: Protocol, shares: Sequence[float], pairs: int, progress: Progress
) -> tuple[dict[float, list[float]], list[str]]:
    """Share of extra work -> the differences of its pairs, and why pairs were discarded. All take turns."""
    key, plain = Key(case.length, P50), contestant(bundle, "efficient", usable_threads())
    found: dict[float, list[float]] = {share: [] for share in shares}
    discarded: list[str] = []
    watch, shuffle = Watch(), random.Random(protocol.seed)
    with ExitStack() as stack:
        sources = {}
        for number, share in enumerate(shares):
            slowed = replace(plain, engine=replace(plain.engine, extra_work=share))
            session = opened(
                {BASELINE: plain, CANDIDATE: slowed},
                [case],
                replace(protocol, seed=protocol.seed + number),
                None,
                watch,
            )
            sources[share] = Pairs(stack.enter_context(session), [case], pairs)
        for number in range(pairs):
            for share in shuffle.sample(shares, len(shares)):
                pair = sources[share].pair(frozenset({key}))
                if pair.discarded is None:
                    found[share].append(pair.differences[key])
                else:
                    discarded.append(pair.discarded)
            progress.update(number + 1, pairs)
    return found, discarded


def pool(differences: Sequence[float], *, symmetric: bool = False) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Differences to draw from. symmetric: of two equal engines, whose difference has either sign as often."""
    values = np.asarray(differences, dtype=np.float64)
    return np.concatenate([values, -values]) if symmetric else values


class _Drawn:
    """A `Source` that draws from measured pairs."""

    def __init__(self, values: np.ndarray[Any, np.dtype[np.float64]], rng: np.random.Generator, key: Key) -> None:
        self._values, self._rng, self._key = values, rng, key

    def pair(self, wanted: frozenset[Key]) -> Pair:
        return Pair({self._key: float(self._rng.choice(self._values))})


def drawn(values: np.ndarray[Any, np.dtype[np.float64]], rule: Rule, gates: int, *, seed: int = 0) -> dict[str, int]:
    """Verdict -> how many of `gates` gates, whose pairs are drawn from `values`, have it."""
    key, rng = Key(None, P50), np.random.default_rng(seed)
    source = _Drawn(values, rng, key)
    counts = Counter(decide(lambda _number, _keys: source, {key: rule})[0][key].verdict.value for _ in range(gates))
    return {verdict.value: counts[verdict.value] for verdict in Verdict}


def honoured(no_change: np.ndarray[Any, np.dtype[np.float64]], ignore: float) -> float | None:
    """The smallest of CATCHES that a gate with this noise can honour; see `Calibration`."""
    for catch in CATCHES:
        if catch <= ignore:
            continue
        rule, least = Rule(ignore, catch), _WANTED * _GATES_PER_CATCH
        caught = drawn(no_change + math.log1p(catch), rule, _GATES_PER_CATCH)[Verdict.FAIL.value]
        if caught >= least and drawn(no_change, rule, _GATES_PER_CATCH)[Verdict.PASS.value] >= least:
            return catch
    return None


def _injected(share: float, differences: Sequence[float], rule: Rule) -> Injected:
    estimate = hodges_lehmann(differences)
    low, high = (None if bound is None else math.exp(bound) - 1 for bound in (estimate.low, estimate.high))
    caught = drawn(pool(differences), rule, GATES)[Verdict.FAIL.value]
    return Injected(share=share, measured=math.exp(estimate.value) - 1, low=low, high=high, caught=caught)


def _machine() -> str:
    facts = json.dumps(fingerprint(), sort_keys=True)
    return f"sha256:{hashlib.sha256(facts.encode()).hexdigest()}"


def file_of(quick: bool, machine: str | None = None) -> Path:
    """Where this machine's calibration is kept, in the cache: a new runtime or power mode has its own."""
    digest = (machine or _machine()).removeprefix("sha256:")[:12]
    return Store.default_root() / "gate" / f"{digest}-{'quick' if quick else 'full'}.json"


def save(calibration: Calibration, file: Path) -> None:
    """Write the calibration, whole or not at all."""
    with disk_errors(file.parent, "choose another --out"):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, calibration.model_dump(mode="json", by_alias=True))


def received(document: Any, host: str) -> Calibration:
    """The document that a job gave on a host. Raises DeviceError where it is none."""
    try:
        return Calibration.model_validate_json(json.dumps(document))
    except ValidationError as error:
        fix = "run it again; if it happens each time, do not trust the device"
        raise DeviceError("the answer is not a calibration", where=host, fix=fix) from error


def find(quick: bool) -> Mapping[str, Any] | None:
    """What a gate quotes of this machine's calibration; None where it has none.

    Raises BundleError for a file that cannot be read.
    """
    file = file_of(quick)
    if not file.exists():
        return None
    fix = "remove it, or calibrate again: edgeattn gate BUNDLE --calibrate"
    calibration = read_json(file, Calibration, newest=SCHEMA_VERSION, fix=fix)
    return calibration.model_dump(mode="json", by_alias=True, exclude={"differences"})
