"""The node tests that ONNX generates: of all operators at once, since the collector works only once per process."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

from onnx.backend.test.case.node import collect_testcases


@cache
def _all() -> tuple[Any, ...]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tuple(collect_testcases(None))


def cases_of(operator: str) -> list[Any]:
    """The cases whose first node is `operator`."""
    return [case for case in _all() if case.model.graph.node[0].op_type == operator]
