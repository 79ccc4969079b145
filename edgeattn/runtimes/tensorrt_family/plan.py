"""Builds a plan, TensorRT's compiled engine, from a graph. In a worker: the builder is native code, and may be killed.

A function here asks the installed module what it has; what it lacks is left out, or done in the older way.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeattn.runtimes.base import ShapeRanges
from edgeattn.runtimes.tensorrt_family.engine import Typing
from edgeattn.runtimes.tensorrt_family.library import RTX, Library
from edgeattn.runtimes.tensorrt_family.memory import pool_limits
from edgeattn.runtimes.tensorrt_family.messages import Messages
from edgeattn.runtimes.tensorrt_family.monitor import monitor_of
from edgeattn.runtimes.tensorrt_family.parse import Problem, Refused, parse

_ALLOCATION = re.compile(r"bad_?alloc|out of memory|OutOfMemory|(cannot|failed to) allocate", re.IGNORECASE)


@dataclass(frozen=True)
class Order:
    """What to build for.

    sm: such as "8.6", to build without a GPU, which TensorRT for RTX alone does; None: the GPU of this machine.
    typing: see `edgeattn.runtimes.tensorrt_family.engine`. workspace_bytes: of a layer; None: TensorRT's own limit.
    timing_cache: a file that keeps what TensorRT times on this GPU; None: nothing is kept.
    """

    shapes: ShapeRanges
    sm: str | None = None
    typing: Typing = "graph"
    workspace_bytes: int | None = None
    timing_cache: Path | None = None


@dataclass(frozen=True)
class Plan:
    """A built engine. content: a buffer of bytes. layers: of the network, before TensorRT fuses them."""

    content: Any
    layers: list[dict[str, str]]
    seconds: float


def build_plan(library: Library, graph: Path, order: Order) -> Plan:
    """The plan of a graph. Raises Refused, with nodes and reasons; MemoryError."""
    library.select()
    from polygraphy.backend.trt import EngineBytesFromNetwork
    from polygraphy.exception import PolygraphyException

    begun, messages = time.monotonic(), Messages()
    strong = order.typing == "graph" and has_strong_typing(library)
    builder, network = parse(library, graph, messages, strongly_typed=strong)
    flags = {} if strong else dict.fromkeys(_flags(library, network, order.typing), True)
    cache = None if order.timing_cache is None else str(order.timing_cache)
    try:
        config = _config(library, order, flags)
        content = EngineBytesFromNetwork((builder, network), config, save_timing_cache=cache)()
    except PolygraphyException as error:
        if any(_ALLOCATION.search(text) for text in messages.errors):
            raise MemoryError(messages.errors[0]) from error
        raise Refused(*(Problem(text) for text in messages.errors or [str(error)])) from error
    layers = [{"Name": layer.name, "LayerType": layer.type.name} for layer in _layers(network)]
    return Plan(content, layers, time.monotonic() - begun)


def has_strong_typing(library: Library) -> bool:
    """Whether a network can be told to keep the types of its graph: from TensorRT 9 on."""
    return hasattr(library.module().NetworkDefinitionCreationFlag, "STRONGLY_TYPED")


def _flags(library: Library, network: Any, typing: Typing) -> Iterator[str]:
    """Polygraphy's names of the precisions to allow in a weakly typed network: those that its graph has, and fp16."""
    trt = library.module()
    layers = list(_layers(network))
    half = any(
        layer.get_output(place).dtype == trt.DataType.HALF for layer in layers for place in range(layer.num_outputs)
    )
    if half or typing == "fp16":
        yield "fp16"
    if any(layer.type in (trt.LayerType.QUANTIZE, trt.LayerType.DEQUANTIZE) for layer in layers):
        yield "int8"


def _layers(network: Any) -> Iterator[Any]:
    yield from (network.get_layer(place) for place in range(network.num_layers))


def _config(library: Library, order: Order, flags: dict[str, bool]) -> Any:
    """Polygraphy's loader of the builder's settings."""
    from polygraphy.backend.trt import CreateConfig, Profile

    profiles = []
    for ranges in order.shapes:
        profiles.append(Profile())
        for name, each in ranges.items():
            profiles[-1].add(name, each.least, each.usual, each.most)
    common: dict[str, Any] = {
        "profiles": profiles or None,
        "memory_pool_limits": pool_limits(library, order.workspace_bytes),
        "progress_monitor": monitor_of(library),
    }
    if library is RTX:
        from polygraphy.backend.tensorrt_rtx import CreateConfigRTX

        capabilities = None if order.sm is None else [tuple(map(int, order.sm.split(".")))]
        return CreateConfigRTX(compute_capabilities=capabilities, use_gpu=capabilities is None, **common)
    cache = order.timing_cache
    known = str(cache) if cache is not None and cache.is_file() else None
    # TF32 is TensorRT's own default: products of fp32 with 10 bits of mantissa, summed in fp32.
    return CreateConfig(load_timing_cache=known, tf32=True, **flags, **common)
