"""Builds an engine folder's plan and layers, in a worker: the other side of `runtime`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeattn.errors import BundleError
from edgeattn.runtimes.engine_file import read_engine
from edgeattn.runtimes.tensorrt_family.deserialize import deserialize
from edgeattn.runtimes.tensorrt_family.engine import LAYERS, PLAN, PlanEngine
from edgeattn.runtimes.tensorrt_family.gpu import gpu_here
from edgeattn.runtimes.tensorrt_family.layers import NOT_RUN, of_engine
from edgeattn.runtimes.tensorrt_family.library import LIBRARIES, RTX
from edgeattn.runtimes.tensorrt_family.parse import Refused
from edgeattn.runtimes.tensorrt_family.plan import Order, build_plan
from edgeattn.store import write_json


def built(argument: dict[str, Any]) -> None:
    """Write engine.plan and layers.json beside the engine.json in the folder `out`, which says what to build for.

    argument: {out, graph: its path, timing_cache: a path or None}. Raises BundleError for a graph that TensorRT cannot
    build.
    """
    out, graph, cache = Path(argument["out"]), Path(argument["graph"]), argument["timing_cache"]
    engine = read_engine(out, PlanEngine)
    library = LIBRARIES[engine.runtime]
    order = Order(
        engine.ranges,
        sm=engine.sm if library is RTX else None,
        typing=engine.typing,
        workspace_bytes=engine.workspace_bytes,
        timing_cache=None if cache is None else Path(cache),
    )
    try:
        plan = build_plan(library, graph, order)
    except Refused as refused:
        raise BundleError(
            f"{library.name} {engine.version} cannot build the graph: {refused}",
            where=str(graph),
            fix="`edgeattn check GRAPH --target NAME` says what each device's TensorRT lacks",
        ) from refused
    (out / PLAN).write_bytes(plan.content)
    found: dict[str, Any] = {"note": NOT_RUN, "layers": plan.layers}
    gpu = gpu_here()
    if gpu is not None and gpu.sm == engine.sm:
        found = of_engine(deserialize(library, plan.content, str(graph)), engine.ranges)
    write_json(out / LAYERS, found)
