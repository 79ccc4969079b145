"""Runs both engines on the golden and the held-out samples, before anything is timed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeattn.bench.accuracy import kept_outputs, known
from edgeattn.bench.contestant import Case, Contestant
from edgeattn.bench.inputs import Arrays, one_by_one, save_feeds
from edgeattn.bench.leg import Leg
from edgeattn.bundle import Bundle
from edgeattn.errors import DeviceError, EdgeattnError, InputError, VerificationError
from edgeattn.gate import accuracy
from edgeattn.gate.document import Row
from edgeattn.gate.session import BASELINE, CANDIDATE, SIDES
from edgeattn.metrics import metric
from edgeattn.metrics import score as score_task
from edgeattn.scratch import scratch


@dataclass(frozen=True)
class Scored:
    """rows: of the accuracy metrics. runtimes: side -> facts of its session."""

    rows: list[Row]
    runtimes: Mapping[str, Mapping[str, Any]]


def score_both(
    sides: Mapping[str, Bundle], contestants: Mapping[str, Contestant], cases: Sequence[Case], ignore: float
) -> Scored | VerificationError:
    """The accuracy of both sides on the baseline's held-out samples, or how the candidate's outputs are wrong.

    Raises DeviceError where the baseline does not run or is wrong here: nothing can be compared with it.
    """
    manifest, arrays = sides[BASELINE].manifest, sides[BASELINE].arrays("eval")
    task = manifest.task
    feeds = list(one_by_one(manifest, arrays, manifest.bench.batch_size))
    kept: dict[str, Arrays] = {}
    runtimes: dict[str, Mapping[str, Any]] = {}
    for side in SIDES:
        try:
            kept[side], runtimes[side] = _outputs(side, contestants[side], cases, feeds, task.kind)
        except VerificationError as error:
            if side == CANDIDATE:
                return error
            raise _no_baseline(error, sides[BASELINE]) from error
        except InputError:
            raise
        except EdgeattnError as error:
            if side == CANDIDATE:
                raise
            raise _no_baseline(error, sides[BASELINE]) from error
    values = {side: score_task(task.kind, kept[side], arrays) for side in SIDES if _finite(kept[side])}
    rows = []
    for name in task.metrics:
        if name not in sides[CANDIDATE].manifest.task.metrics:
            continue
        if name == task.accept_metric:
            found = accuracy.judge(metric(task.kind, name), task.accept_of_teacher, kept, arrays, ignore=ignore)
            rows.append(
                Row(
                    metric=name, kind="accuracy", blocking=True, verdict=found.verdict.value, limit=found.floor,
                    candidate=found.candidate, baseline=found.baseline, why=found.why,
                )
            )  # fmt: skip
        else:
            candidate, baseline = (known(values.get(side, {}).get(name)) for side in (CANDIDATE, BASELINE))
            rows.append(
                Row(metric=name, kind="accuracy", blocking=False, verdict=None, candidate=candidate, baseline=baseline)
            )
    return Scored(rows, runtimes)


def _outputs(
    side: str, contestant: Contestant, cases: Sequence[Case], feeds: Sequence[Arrays], kind: str
) -> tuple[Arrays, dict[str, Any]]:
    with scratch("gate") as folder:
        first = folder / "first.npz"
        save_feeds(first, feeds[:1])
        with Leg(f"{side} engine", contestant.engine, first) as leg:
            runtime = leg.load()["session"]
            contestant.check(side, leg, cases)
            return kept_outputs(leg, feeds, kind), runtime


def _finite(kept: Arrays) -> bool:
    return all(np.isfinite(array).all() for array in kept.values())


def _no_baseline(error: EdgeattnError, baseline: Bundle) -> DeviceError:
    return DeviceError(
        f"the baseline does not run here: {error.fact}",
        where=str(baseline.path),
        fix="save a baseline that passes `edgeattn baseline verify` on this machine",
    )
