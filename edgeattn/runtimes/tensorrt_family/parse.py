"""Reads an ONNX graph into a TensorRT network, or says which node it refuses and why. In a worker."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgeattn.runtimes.tensorrt_family.library import Library
from edgeattn.runtimes.tensorrt_family.messages import Messages


@dataclass(frozen=True)
class Problem:
    """Why a graph cannot be built. node, operator: None where it is not one node's fault."""

    reason: str
    node: str | None = None
    operator: str | None = None

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


class Refused(Exception):
    """The graph cannot be parsed or built."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("; ".join(shown(problem.facts()) for problem in problems))
        self.problems = problems


def shown(problem: dict[str, Any]) -> str:
    """A problem in one line, such as "node 'topk' (TopK): K exceeds the limit of 3840"."""
    place = f"node {problem['node']!r} ({problem['operator']}): " if problem["node"] or problem["operator"] else ""
    return f"{place}{problem['reason']}"


def parse(library: Library, graph: Path, messages: Messages, *, strongly_typed: bool) -> tuple[Any, Any]:
    """TensorRT's builder and the network of a graph. Raises Refused, with the nodes."""
    from polygraphy.backend.trt import CreateNetwork
    from polygraphy.backend.trt.util import get_trt_logger

    trt = library.module()
    builder, network = CreateNetwork(strongly_typed=strongly_typed)()
    trt.init_libnvinfer_plugins(get_trt_logger(), "")
    parser = trt.OnnxParser(network, get_trt_logger())
    with messages.in_detail():
        parsed = parser.parse_from_file(str(graph))
    if not parsed or parser.num_errors:
        problems = [_problem(parser.get_error(place)) for place in range(parser.num_errors)]
        raise Refused(*problems or [Problem(messages.errors[-1] if messages.errors else "it cannot be parsed")])
    return builder, network


def _problem(error: Any) -> Problem:
    """A parser's error. An old TensorRT gives the node's place in the graph, not its name and operator."""
    name, operator = (getattr(error, each, str)() for each in ("node_name", "node_operator"))
    place = error.node()
    return Problem(_reason(error), name or (f"number {place}" if place >= 0 else None), operator or None)


def _reason(error: Any) -> str:
    """What is wrong, with TensorRT's own code, and the function of its parser that checks it."""
    text = error.desc().strip()
    text = "is not supported" if text == "false" else text  # the condition of a check that always fails
    return f"{text} ({error.code().name}, {error.func()})"
