"""The time of each operator, by OpenVINO's performance counters: microseconds, the mean of all inferences until now."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any

from edgeattn.runtimes.base import Arrays, OperatorTime, Profile
from edgeattn.runtimes.nodes import Nodes, read_nodes

METHOD = "OpenVINO's performance counters"
_ROUNDS = 3
_UNTIMED = 2  # inferences first: they compile kernels for the shapes
_NO_WORK = {"Input", "Const", "Output"}


def counted_profile(graph: Path, feeds: Arrays, inferences: int, compile_model: Callable[[], Any]) -> Profile:
    """Profile `graph`. compile_model: compiles it with PERF_COUNT.

    The counters cannot be reset, and their mean has what interrupts an inference in it. So each of several compiled
    models makes some of the inferences, and an operator's time is the median of theirs.
    """
    nodes, taken_ms, rounds = read_nodes(graph), list[float](), list[list[OperatorTime]]()
    for _ in range(_ROUNDS):
        rounds.append(_round(compile_model(), feeds, ceil(inferences / _ROUNDS), nodes, taken_ms))
    last = rounds[-1]
    kinds = [operator.kind for operator in last]
    same = [each for each in rounds if [operator.kind for operator in each] == kinds]
    operators = (
        replace(operator, ms=statistics.median(each[place].ms for each in same)) for place, operator in enumerate(last)
    )
    return Profile(METHOD, graph.name, tuple(operators), statistics.median(taken_ms))


def _round(compiled: Any, feeds: Arrays, inferences: int, nodes: Nodes, taken_ms: list[float]) -> list[OperatorTime]:
    """The operators of one compiled model. taken_ms: gets the time of each inference."""
    request = compiled.create_infer_request()
    for _ in range(_UNTIMED):
        request.infer(feeds, share_inputs=True)
    before = _counters(request)
    for _ in range(inferences):
        begun = time.perf_counter()
        request.infer(feeds, share_inputs=True)
        taken_ms.append((time.perf_counter() - begun) * 1e3)
    counters, operators = _counters(request), []
    for name, names in _originals(compiled).items():
        if name not in counters:  # done once, when the model was compiled
            continue
        kind, mean_us = counters[name]
        total_us = mean_us * (_UNTIMED + inferences) - before.get(name, ("", 0.0))[1] * _UNTIMED
        operators.append(OperatorTime(name, kind, max(total_us, 0.0) / inferences / 1e3, _nodes_of(names, nodes)))
    return operators


def _counters(request: Any) -> dict[str, tuple[str, float]]:
    """Operator -> its type, and the mean of its microseconds: 0 where that is less than one."""
    return {
        info.node_name: (info.node_type, info.real_time.total_seconds() * 1e6) for info in request.get_profiling_info()
    }


def _originals(compiled: Any) -> dict[str, str]:
    """Operator -> names of the layers that it was made of, in the order in which they run. Without constants."""
    found = {}
    for operator in compiled.get_runtime_model().get_ordered_ops():
        facts = operator.get_rt_info()
        place = _text(facts, "execOrder")
        if place.isdigit() and _text(facts, "layerType") not in _NO_WORK:
            name = operator.get_friendly_name()
            # One of OpenVINO's own, such as a reordering, has no layers, and is named for what it is beside.
            found[name] = (int(place), _text(facts, "originalLayersNames") or name)
    return {name: names for name, (_, names) in sorted(found.items(), key=lambda each: each[1][0])}


def _text(facts: Any, key: str) -> str:
    return str(facts[key].astype(str)) if key in facts else ""


def _nodes_of(names: str, nodes: Nodes) -> tuple[str, ...]:
    """The graph's nodes that names of OpenVINO, separated by commas, begin with."""
    found = [nodes.named_in(name) for name in names.split(",")]
    return tuple(dict.fromkeys(node.name for node in found if node is not None))
