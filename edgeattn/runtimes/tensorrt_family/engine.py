"""The engine folder: engine.json says what the plan was built for, engine.plan is TensorRT's own file, layers.json
lists its layers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, TypeAdapter

from edgeattn.devices.profile import SM, Version
from edgeattn.interface import TensorName
from edgeattn.runtimes.base import ShapeRange, ShapeRanges
from edgeattn.runtimes.engine_file import EngineFile
from edgeattn.validation import Many, Part

PLAN = "engine.plan"
LAYERS = "layers.json"
Typing = Literal["graph", "fp16"]
_Shape = Annotated[Many[Annotated[int, Field(ge=0)]], Field(max_length=8)]


class Range(Part):
    """`edgeattn.runtimes.base.ShapeRange`, as JSON."""

    least: _Shape
    usual: _Shape
    most: _Shape


class PlanEngine(EngineFile):
    """engine.json. A plan is machine code: it runs on this GPU, with this TensorRT and this L4T release alone.

    sm: compute capability of the GPU. l4t: None where it is no Jetson. typing: "graph": the graph's own types; "fp16":
    TensorRT may compute any layer in fp16. workspace_bytes: see `Order`.
    """

    runtime: Literal["tensorrt", "tensorrt_rtx"]
    sm: Annotated[str, Field(pattern=SM)]
    l4t: Version | None
    typing: Typing = "graph"
    shapes: Annotated[Many[dict[TensorName, Range]], Field(max_length=64)]
    workspace_bytes: PositiveInt | None = None

    @property
    def ranges(self) -> ShapeRanges:
        """Its optimization profiles, in their order."""
        return ranges_of(self.shapes)


def ranges_as_parts(shapes: ShapeRanges) -> tuple[dict[str, Range], ...]:
    """Shape ranges for engine.json."""
    return tuple(
        {name: Range(least=each.least, usual=each.usual, most=each.most) for name, each in ranges.items()}
        for ranges in shapes
    )


def ranges_of(parts: tuple[dict[str, Range], ...]) -> ShapeRanges:
    """The shape ranges of engine.json."""
    return [{name: ShapeRange(each.least, each.usual, each.most) for name, each in ranges.items()} for ranges in parts]


_RANGES = TypeAdapter(tuple[dict[str, Range], ...])


def ranges_as_json(shapes: ShapeRanges) -> list[dict[str, dict[str, list[int]]]]:
    """Shape ranges as JSON, for a worker or a key."""
    found: list[dict[str, dict[str, list[int]]]] = _RANGES.dump_python(ranges_as_parts(shapes), mode="json")
    return found


def ranges_of_json(document: list[dict[str, dict[str, list[int]]]]) -> ShapeRanges:
    """What `ranges_as_json` wrote."""
    return ranges_of(_RANGES.validate_python(document, strict=False))
