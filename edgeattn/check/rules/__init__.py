"""The rules: each looks at a graph for one parser and yields its faults. docs/graph-check.md lists them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edgeattn.check.finding import Fault
from edgeattn.check.graph import Graph
from edgeattn.check.parsers import Parser
from edgeattn.check.rules.control_flow import control_flow
from edgeattn.check.rules.limits import limits
from edgeattn.check.rules.operators import operators, opset, tensors
from edgeattn.check.rules.precision import half_precision, wide_types
from edgeattn.check.rules.quantization import placement, quantization
from edgeattn.check.rules.shapes import data_dependent, shape_from_floats

RULES: tuple[Callable[[Graph, Parser], Iterator[Fault]], ...] = (
    opset, tensors, operators, limits, quantization, placement, half_precision, wide_types, data_dependent,
    shape_from_floats, control_flow,
)  # fmt: skip
