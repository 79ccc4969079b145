"""The layers of an engine, and the time of each on the GPU: layers.json."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from edgeattn.runtimes.base import Arrays, ShapeRanges
from edgeattn.runtimes.tensorrt_family.deserialize import Loaded
from edgeattn.runtimes.tensorrt_family.session import PlanSession

_INFERENCES = 10  # profiled, after one that is not
NOT_RUN = "built without a GPU: the network's layers, before TensorRT fuses them, and no times"
RUN = "the engine's layers; their times are the means of inferences with zeros, of each profile's usual shapes"


def of_engine(loaded: Loaded, ranges: ShapeRanges) -> dict[str, Any]:
    """The layers of an engine as TensorRT's inspector describes them, and their times, as JSON.

    {note, layers, profiles: [{usual: {input: shape}, ms: {layer: milliseconds}}]}. Not run on hardware yet.
    """
    return {
        "note": RUN,
        "layers": layers_of(loaded),
        "profiles": [
            {"usual": {name: list(each.usual) for name, each in shapes.items()}, "ms": ms}
            for shapes, ms in zip(ranges, _times(loaded, ranges), strict=True)
        ],
    }


def _times(loaded: Loaded, ranges: ShapeRanges) -> list[dict[str, float]]:
    """Milliseconds of each layer, for each profile."""
    session, found = PlanSession(loaded, ranges, {}, cuda_graphs=False), []
    for shapes in ranges:
        dtypes = {name: loaded.trt.nptype(loaded.engine.get_tensor_dtype(name)) for name in shapes}
        feeds = {name: np.zeros(each.usual, dtypes[name]) for name, each in shapes.items()}
        session.run(feeds)
        times = layer_times(loaded.trt, session, feeds, _INFERENCES)
        found.append({name: round(ms, 5) for name, ms in times.items()})
    return found


def layer_times(trt: Any, session: PlanSession, feeds: Arrays, inferences: int) -> dict[str, float]:
    """Layer -> mean milliseconds, in the order in which they run. session: one without CUDA graphs."""

    class Times(trt.IProfiler):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)
            self.ms: dict[str, float] = {}

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self.ms[layer_name] = self.ms.get(layer_name, 0.0) + ms

    times = Times()
    session.profile(feeds, times, inferences)
    return {name: ms / inferences for name, ms in times.ms.items()}


def layers_of(loaded: Loaded) -> list[Any]:
    """The layers of an engine as TensorRT's inspector describes them: names alone, or facts where it was built so."""
    inspector = loaded.engine.create_engine_inspector()
    found = json.loads(inspector.get_engine_information(loaded.trt.LayerInformationFormat.JSON))
    return list(found.get("Layers", []))
