"""Builds a graph by TensorRT for RTX on a machine without a GPU, to show that it parses and builds strongly typed.

That is NVIDIA's own parser and type checking. It proves nothing about the speed on another GPU, and that GPU's
TensorRT may be older: `edgeattn check` knows what its version lacks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeattn.errors import DeviceError
from edgeattn.runtimes.base import ShapeRanges
from edgeattn.runtimes.tensorrt_family.engine import ranges_as_json, ranges_of_json
from edgeattn.runtimes.tensorrt_family.library import RTX
from edgeattn.runtimes.tensorrt_family.parse import Refused
from edgeattn.runtimes.tensorrt_family.plan import Order, build_plan
from edgeattn.worker import call

# Compute capabilities that TensorRT for RTX 1.7 builds for; and for others, the one that is most like them: Orin's GPU
# is of the Ampere generation as 8.6 is, Thor's of the Blackwell generation as 12.0 is.
BUILDS_FOR = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")
STAND_INS = {"7.2": "7.5", "8.7": "8.6", "11.0": "12.0"}
TIMEOUT_S = 600.0


def stand_in(sm: str) -> str:
    """The compute capability that is built for in place of `sm`, itself where it can be.

    Raises DeviceError where there is none.
    """
    found = STAND_INS.get(sm, sm)
    if found not in BUILDS_FOR:
        raise DeviceError(
            f"TensorRT for RTX builds for no GPU of compute capability {sm}, and for none that is like it",
            fix=f"it builds for {', '.join(BUILDS_FOR)}, and in place of {', '.join(STAND_INS)}",
        )
    return found


def try_build(graph: Path, *, sm: str, shapes: ShapeRanges, timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
    """Parse and build an ONNX file, strongly typed, in a process of its own. Returns facts as JSON:

    {passed, problems: [{reason, node, operator}], tensorrt_rtx: version, sm, built_for, seconds, engine_bytes, layers}

    sm: the target's compute capability, such as "8.7"; built_for: it, or its stand-in. seconds: to parse and build.
    layers: of the network, before TensorRT fuses them. The last three are None where it did not pass. The names of a
    problem's node and operator are None where it is not one node's fault.
    Raises DeviceError without TensorRT for RTX or for an unknown sm, ToolError when NVIDIA's code dies (its last output
    names the node), ResourceError when time or memory runs out.
    """
    built_for = stand_in(sm)
    argument = {"graph": str(graph), "sm": built_for, "shapes": ranges_as_json(shapes)}
    found = call(
        "edgeattn.runtimes.tensorrt_family.try_build:tried", argument,
        stage=f"TensorRT for RTX, {graph.name}", timeout_s=timeout_s,
    )  # fmt: skip
    return {**found, "sm": sm, "built_for": built_for}


def tried(argument: dict[str, Any]) -> dict[str, Any]:
    """The worker's side of `try_build`."""
    version = RTX.require()
    try:
        order = Order(ranges_of_json(argument["shapes"]), sm=argument["sm"])
        plan = build_plan(RTX, Path(argument["graph"]), order)
    except Refused as refused:
        facts: dict[str, Any] = {"seconds": None, "engine_bytes": None, "layers": None}
        problems = [problem.facts() for problem in refused.problems]
    else:
        size = memoryview(plan.content).nbytes
        facts = {"seconds": round(plan.seconds, 3), "engine_bytes": size, "layers": len(plan.layers)}
        problems = []
    return {"passed": not problems, "problems": problems, "tensorrt_rtx": version, **facts}
