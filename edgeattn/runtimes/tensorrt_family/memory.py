"""How much memory a build may take, so that the kernel does not kill it."""

from __future__ import annotations

from typing import Any

from edgeattn.runtimes.tensorrt_family.gpu import Gpu
from edgeattn.runtimes.tensorrt_family.library import Library

# On a board whose GPU shares the processor's memory, TensorRT's own limits are all of it for a layer's workspace and
# 75 % for the builder, and builds on an Orin Nano are killed (NVIDIA/TensorRT#3355, #4220). These leave room for the
# system, the graph's weights and CUDA itself: on 4 GB, 0.5 GB a layer and 2 GB in all.
WORKSPACE_SHARE = 1 / 8
BUILDER_SHARE = 1 / 2


def workspace_bytes(gpu: Gpu | None, share: float = 1.0) -> int | None:
    """The most that a layer may use as scratch memory; None: TensorRT's own limit, where the GPU has its own memory.

    share: of what it would be else, for another attempt after one was killed.
    """
    if gpu is None or not gpu.integrated:
        return None
    return int(gpu.memory_bytes * WORKSPACE_SHARE * share)


def pool_limits(library: Library, workspace: int | None) -> dict[Any, int] | None:
    """The builder's memory pools and their limits, as Polygraphy takes them; None: its own."""
    if workspace is None:
        return None
    pools = library.module().MemoryPoolType
    limits = {"WORKSPACE": workspace, "TACTIC_DRAM": int(workspace * BUILDER_SHARE / WORKSPACE_SHARE)}
    return {getattr(pools, name): limit for name, limit in limits.items() if hasattr(pools, name)}
