"""Pre-flight: TensorRT for RTX parses and builds graphs, strongly typed, on a machine without a GPU.

That is NVIDIA's own parser and type checking, of its newest version, for a compute capability like the target's. It
proves nothing about the speed there, nor about an older parser: `edgeattn.check.run` knows what that one lacks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from edgeattn.devices import DeviceProfile, usable_threads
from edgeattn.errors import ModelError, ResourceError, ToolError
from edgeattn.interface import BATCH, Interface
from edgeattn.runtimes.base import ShapeRange, ShapeRanges
from edgeattn.runtimes.graphs import input_dims
from edgeattn.runtimes.tensorrt_family.library import RTX
from edgeattn.runtimes.tensorrt_family.try_build import stand_in, try_build
from edgeattn.validation import Many, Part
from edgeattn.versions import installed_version

FAMILY = ("tensorrt", "tensorrt_rtx")  # the runtimes that it stands for
_SM = "8.6"  # of a profile that names no GPU
_AT_ONCE = 2  # a build takes one core and some hundred MB
_LENGTH = 128  # of a free axis, where nothing says how long it gets


class Problem(Part):
    """Why a build failed. node, operator: None where it is not one node's fault."""

    reason: str
    node: str | None = None
    operator: str | None = None


class Built(Part):
    """What TensorRT for RTX made of a graph. sm: of the target; built_for: it, or the nearest that can be built for.

    seconds, engine_bytes, layers: None where it failed.
    """

    passed: bool
    problems: Many[Problem] = ()
    tensorrt_rtx: str
    sm: str
    built_for: str
    seconds: float | None = None
    engine_bytes: int | None = None
    layers: int | None = None


def stands_for(profile: DeviceProfile) -> bool:
    """Whether the profile has a runtime of which a pre-flight says something."""
    return any(support.name in FAMILY for support in profile.runtimes)


def version() -> str | None:
    """Of the installed TensorRT for RTX; None where it is not installed, and there is no pre-flight."""
    return RTX.version() if installed_version("polygraphy") else None


def fly(
    graphs: Mapping[str, Path],
    profile: DeviceProfile,
    shapes: ShapeRanges,
    done: Callable[[str], None] = lambda name: None,
) -> dict[str, Built]:
    """Builds each graph, two at a time. graphs, and the result: by a name of the caller's. done: called with each.

    shapes: as `shapes_for` gives them. Raises DeviceError without TensorRT for RTX, and for a GPU that is like none of
    those that it builds for.
    """
    sm = profile.gpu.sm if profile.gpu and profile.gpu.sm else _SM

    def one(name: str) -> Built:
        built = _build(graphs[name], sm, shapes)
        done(name)
        return built

    with ThreadPoolExecutor(min(_AT_ONCE, usable_threads())) as pool:
        return dict(zip(graphs, pool.map(one, graphs), strict=True))


def _build(graph: Path, sm: str, shapes: ShapeRanges) -> Built:
    try:
        return Built.model_validate(try_build(graph, sm=sm, shapes=shapes))
    except ToolError as error:  # NVIDIA's code died or ran out of time or memory: this graph did not pass
        end = "its limits" if isinstance(error, ResourceError) else "a crash"
        problem = Problem(reason=f"the build ended with {end}: {error.fact}")
        return Built(
            passed=False, problems=(problem,), tensorrt_rtx=version() or "unknown", sm=sm, built_for=stand_in(sm)
        )


def shapes_for(interface: Interface, lengths: tuple[int, ...] | None, batch: int) -> ShapeRanges:
    """One range for all inputs: up to `batch` inputs, of up to the longest of `lengths` along the length axis."""

    def size(dim: int | str, most: bool) -> int:
        if isinstance(dim, int):
            return dim
        if dim == BATCH:
            return batch if most else 1
        if not most:
            return 1
        longest = interface.axes[dim].longest
        wanted = max(lengths) if lengths and dim == interface.length_axis else longest or _LENGTH
        return min(wanted, longest or wanted)

    ranges = {}
    for tensor in interface.inputs:
        least, largest = (tuple(size(dim, most) for dim in tensor.dims) for most in (False, True))
        ranges[tensor.name] = ShapeRange(least, largest, largest)
    return [ranges]


def shapes_in(graph: Path, length: int) -> ShapeRanges:
    """One range for the inputs of any ONNX file: batch 1, and up to `length` along every other axis that is free.

    Raises ModelError for an input without a stated number of dimensions.
    """
    ranges = {}
    for name, dims in input_dims(graph).items():
        if dims is None:
            raise ModelError(
                f"input {name!r} has no stated dimensions", where=str(graph), fix="run shape inference on it"
            )
        fixed = [dim if isinstance(dim, int) and dim > 0 else None for dim in dims]
        most = tuple(size or (1 if place == 0 else length) for place, size in enumerate(fixed))
        ranges[name] = ShapeRange(tuple(size or 1 for size in fixed), most, most)
    return [ranges]
