"""The time of each operator, by ONNX Runtime's own profiler: a trace of events in JSON, in microseconds.

An event names the node of the optimized graph, which ONNX Runtime also writes; the bundle's nodes are found from it.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from edgeattn.errors import ToolError
from edgeattn.runtimes.base import Arrays, OperatorTime, Profile
from edgeattn.runtimes.nodes import read_nodes, traced
from edgeattn.scratch import scratch

METHOD = "ONNX Runtime's profiler"
_UNTIMED = 2  # inferences first: they allocate
_SUFFIX = "_kernel_time"
_Event = dict[str, Any]


def traced_profile(
    graph: Path, feeds: Arrays, inferences: int, open_session: Callable[[Callable[[Any], None]], Any]
) -> Profile:
    """Profile `graph`. open_session: makes the session, with options that the function it is given sets."""
    with scratch("profile") as folder:

        def more(options: Any) -> None:
            options.enable_profiling = True
            options.profile_file_prefix = str(folder / "trace")
            options.optimized_model_filepath = str(folder / "optimized.onnx")
            # Beside the graph, which else may not be larger than 2 GiB.
            options.add_session_config_entry(
                "session.optimized_model_external_initializers_file_name", "optimized.data"
            )

        session = open_session(more)
        for _ in range(_UNTIMED + inferences):
            session.run(None, feeds)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        nodes = traced(read_nodes(folder / "optimized.onnx"), read_nodes(graph))
    runs = list(runs_of(events))[_UNTIMED:]
    if not runs:
        raise ToolError("ONNX Runtime's trace has no inference", where=str(graph), fix="use another version of it")
    operators = [
        OperatorTime(
            event["name"].removesuffix(_SUFFIX),
            event["args"].get("op_name", ""),
            _middle([run[place]["dur"] for _, run in runs]) / 1e3,
            nodes.get(event["name"].removesuffix(_SUFFIX), ()),
        )
        for place, event in enumerate(runs[-1][1])
    ]
    return Profile(METHOD, graph.name, tuple(operators), statistics.median(run[0] for run in runs) / 1e3)


def _middle(values: Sequence[float]) -> float:
    """The mean of the middle half: what interrupts an operator is not its time, and whole microseconds are coarse."""
    quarter = len(values) // 4
    return statistics.fmean(sorted(values)[quarter : len(values) - quarter])


def runs_of(events: Sequence[_Event]) -> Iterator[tuple[int, list[_Event]]]:
    """The inferences of a trace: the microseconds of each, and the events of its operators in order.

    Only inferences with the operators of the last one. An operator within another one's time is part of that.
    """
    timed = sorted((event for event in events if "dur" in event), key=lambda event: int(event["ts"]))
    whole = [event for event in timed if event["name"] == "model_run"]
    operators = [event for event in timed if event["cat"] == "Node" and event["name"].endswith(_SUFFIX)]
    found: list[tuple[int, list[_Event]]] = []
    place = 0
    for run in whole:
        end, until, inside = run["ts"] + run["dur"], 0, list[_Event]()
        while place < len(operators) and operators[place]["ts"] <= end:
            event = operators[place]
            if event["ts"] >= max(until, run["ts"]):
                inside.append(event)
                until = event["ts"] + event["dur"]
            place += 1
        found.append((run["dur"], inside))
    names = [[event["name"] for event in inside] for _, inside in found]
    yield from (run for run, named in zip(found, names, strict=True) if named == names[-1])
