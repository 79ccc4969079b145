"""Checks graphs for a device, in one worker for all of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from pathlib import Path
from types import TracebackType
from typing import Any

from edgeattn import worker
from edgeattn.check.files import check_file
from edgeattn.check.finding import Report, report_of
from edgeattn.check.sound import TIMEOUT_S
from edgeattn.devices import DeviceProfile


class Checker:
    """Checks graphs for one device, of whose profile it reads name, runtimes and software.

    A context manager: its worker ends with it.
    """

    def __init__(self, profile: DeviceProfile) -> None:
        argument = {
            "name": profile.name,
            "description": profile.name,
            "runtimes": [each.model_dump(mode="json") for each in profile.runtimes],
            "software": [each.model_dump(mode="json") for each in profile.software],
        }
        self._worker = worker.Process("edgeattn.check.run:serve", argument, stage="check", timeout_s=TIMEOUT_S)

    def __enter__(self) -> Checker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._worker.__exit__(kind, error, trace)

    def check(self, path: Path, *, runtimes: Collection[str] | None = None, shared: bool = False) -> Report:
        """The report of a graph. runtimes: whose parsers it is for; None: all. shared: see `check_file`.

        Raises ModelError for a file that is not a sound ONNX graph; ToolError where a native library fails on it.
        """
        check_file(path, shared=shared)
        asked = {"path": str(path), "runtimes": None if runtimes is None else list(runtimes)}
        return Report.model_validate(self._worker.ask(asked))


def serve(profile: dict[str, Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """The worker's side: a function from a path and runtimes to the report of the graph there."""
    from edgeattn.check.graph import view
    from edgeattn.check.parsers import parsers_of
    from edgeattn.check.rules import RULES
    from edgeattn.check.sound import facts_of, load

    every = parsers_of(DeviceProfile.model_validate_json(json.dumps(profile)))

    def answer(asked: dict[str, Any]) -> dict[str, Any]:
        path, runtimes = Path(asked["path"]), asked["runtimes"]
        parsers = [parser for parser in every if runtimes is None or parser.runtime in runtimes]
        model = load(path)
        graph = view(model, path)
        faults = [[fault for rule in RULES for fault in rule(graph, parser)] for parser in parsers]
        verdicts = [(parser.name, parser.runtime, parser.version) for parser in parsers]
        return report_of(facts_of(model), verdicts, faults).model_dump(mode="json")

    return answer
