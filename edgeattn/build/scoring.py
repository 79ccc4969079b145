"""The accuracy of an engine on the bundle's held-out data."""

from __future__ import annotations

import numpy as np

from edgeattn.bench.accuracy import floor_of, holds, kept_outputs, known
from edgeattn.bench.inputs import one_by_one, save_feeds
from edgeattn.bench.leg import Engine, Leg
from edgeattn.bundle import Bundle
from edgeattn.metrics import metric, references, score
from edgeattn.scratch import scratch


class Scores:
    """Scores engines of a bundle, and knows the floor that they must keep."""

    def __init__(self, bundle: Bundle) -> None:
        self._interface, self._task = bundle.manifest, bundle.manifest.task
        self._arrays = bundle.arrays("eval")
        self.metric = metric(self._task.kind, self._task.accept_metric)
        teacher = score(self._task.kind, references(self._arrays), self._arrays)
        self.floor = floor_of(
            known(teacher.get(self.metric.name)), self._task.accept_of_teacher, self.metric.higher_is_better
        )

    def of(self, engine: Engine, name: str) -> dict[str, float | None]:
        """The task's metrics of an engine's outputs, None where an output or a metric is not finite."""
        feeds = list(one_by_one(self._interface, self._arrays))
        with scratch("scores") as folder:
            path = folder / "first.npz"
            save_feeds(path, feeds[:1])
            with Leg(f"accuracy of {name}", engine, path) as leg:
                kept = kept_outputs(leg, feeds, self._task.kind)
        finite = all(np.isfinite(array).all() for array in kept.values())
        values = score(self._task.kind, kept, self._arrays) if finite else {}
        return {name: known(values.get(name)) for name in self._task.metrics}

    def hold(self, values: dict[str, float | None]) -> bool:
        """Whether the accept metric keeps its floor."""
        return holds(values.get(self.metric.name), self.floor, self.metric.higher_is_better)
