"""One request at a time, each as soon as the one before it is answered: what a user who waits alone sees."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from edgeattn.bench.scenarios.base import Scenario


class Single(Scenario):
    """See `Scenario`."""

    name = "single"
    figures: ClassVar[Mapping[str, str]] = {"p50_ms": "the median latency of one request"}
