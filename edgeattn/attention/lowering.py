"""Which operators beyond standard ONNX a graph may use while it is being exported.

A variant asks here, in its forward pass, whether the runtime that the graph is meant for has a fused operator of
its kind; outside an export the answer is always no.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_OPERATORS: ContextVar[frozenset[str]] = ContextVar("operators", default=frozenset())


@contextmanager
def allow(operators: frozenset[str]) -> Iterator[None]:
    """Within the block, variants may lower to these operators, such as "com.microsoft::MultiHeadAttention"."""
    token = _OPERATORS.set(operators)
    try:
        yield
    finally:
        _OPERATORS.reset(token)


def allowed(operator: str) -> bool:
    """Whether the graph being exported may hold `operator`."""
    return operator in _OPERATORS.get()
