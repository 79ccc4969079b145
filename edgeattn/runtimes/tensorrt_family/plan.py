"""Builds a plan, TensorRT's compiled engine, from a graph. In a worker: the builder is native code, and may be killed.

A function here asks the installed module what it has; what it lacks is left out, or done in the older way.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeattn.runtimes.base import ShapeRange, ShapeRanges
from edgeattn.runtimes.tensorrt_family.library import RTX, Library
from edgeattn.runtimes.tensorrt_family.messages import Messages
from edgeattn.runtimes.tensorrt_family.parse import Problem, Refused, parse

_ALLOCATION = re.compile(r"bad_?alloc|out of memory|OutOfMemory|(cannot|failed to) allocate", re.IGNORECASE)


@dataclass(frozen=True)
class Plan:
    """A built engine. layers: of the network, before TensorRT fuses them. typing: "strong" or "weak"."""

    content: Any  # a buffer of bytes
    layers: int
    typing: str
    seconds: float


def build_plan(library: Library, graph: Path, *, sm: str | None, shapes: ShapeRanges) -> Plan:
    """The plan of a graph. sm: such as "8.6", to build without a GPU, by TensorRT for RTX alone; None: of this GPU.

    Raises Refused, with nodes and reasons; MemoryError.
    """
    library.select()
    from polygraphy.backend.trt import EngineBytesFromNetwork
    from polygraphy.exception import PolygraphyException

    begun = time.monotonic()
    messages = Messages()
    builder, network = parse(library, graph, messages, strongly_typed=has_strong_typing(library))
    try:
        content = EngineBytesFromNetwork((builder, network), _config(library, sm, shapes))()
    except PolygraphyException as error:
        if any(_ALLOCATION.search(text) for text in messages.errors):
            raise MemoryError(messages.errors[0]) from error
        raise Refused(*(Problem(text) for text in messages.errors or [str(error)])) from error
    return Plan(content, network.num_layers, "strong", time.monotonic() - begun)


def has_strong_typing(library: Library) -> bool:
    """Whether a network can be told to keep the types of its graph: from TensorRT 9 on."""
    return hasattr(library.module().NetworkDefinitionCreationFlag, "STRONGLY_TYPED")


def _config(library: Library, sm: str | None, shapes: ShapeRanges) -> Any:
    """Polygraphy's loader of the builder's settings."""
    from polygraphy.backend.trt import CreateConfig, Profile

    profiles = []
    for ranges in shapes:
        profiles.append(Profile())
        for name, each in ranges.items():
            profiles[-1].add(name, each.least, each.usual, each.most)
    if library is not RTX:
        return CreateConfig(profiles=profiles or None)
    from polygraphy.backend.tensorrt_rtx import CreateConfigRTX

    capabilities = None if sm is None else [tuple(map(int, sm.split(".")))]
    return CreateConfigRTX(profiles=profiles or None, compute_capabilities=capabilities, use_gpu=sm is None)


def shapes_as_json(shapes: ShapeRanges) -> list[dict[str, list[list[int]]]]:
    """Shape ranges as JSON: for each, input -> [least, usual, most]."""
    return [
        {name: [list(each.least), list(each.usual), list(each.most)] for name, each in ranges.items()}
        for ranges in shapes
    ]


def shapes_of_json(document: list[Mapping[str, list[list[int]]]]) -> ShapeRanges:
    """What `shapes_as_json` wrote."""
    return [
        {name: ShapeRange(*(tuple(shape) for shape in each)) for name, each in ranges.items()} for ranges in document
    ]
