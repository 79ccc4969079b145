"""Checks an exported graph before a runtime reads it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from edgeattn import worker
from edgeattn.errors import ModelError

_TIMEOUT_S = 300.0
_SMALLEST_BYTES = 16
_CONTRIB = "com.microsoft"


def check_graph(path: Path) -> dict[str, Any]:
    """Facts of a graph that passes onnx's own checker: {opset, nodes, operators: {name: count}}.

    The checker is native code and runs in a worker. Raises ModelError for a file that is not a sound ONNX graph.
    """
    size = path.stat().st_size
    if size < _SMALLEST_BYTES:
        raise ModelError(f"not an ONNX graph: {size} bytes", where=str(path))
    facts = worker.call("edgeattn.export.check:facts", {"path": str(path)}, stage="check", timeout_s=_TIMEOUT_S)
    if facts["problem"]:
        raise ModelError(f"not a sound ONNX graph: {facts['problem']}", where=str(path))
    return {key: facts[key] for key in ("opset", "nodes", "operators")}


def facts(argument: dict[str, Any]) -> dict[str, Any]:
    """The worker's side of `check_graph`."""
    import onnx
    from google.protobuf.message import DecodeError

    path = Path(argument["path"])
    try:
        model = onnx.load(path, load_external_data=False)
        if model.ir_version < 3 or not model.graph.node:
            return {"problem": f"IR version {model.ir_version}, {len(model.graph.node)} nodes"}
        # The checker does not know operators that a runtime adds: a graph with some is checked by its runtime.
        if not any(node.domain == _CONTRIB for node in model.graph.node):
            onnx.checker.check_model(str(path), full_check=False)
    except (DecodeError, onnx.checker.ValidationError, ValueError) as error:
        return {"problem": str(error).splitlines()[0]}
    names = (f"{node.domain}::{node.op_type}" if node.domain else node.op_type for node in model.graph.node)
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), None)
    return {
        "problem": None,
        "opset": opset,
        "nodes": len(model.graph.node),
        "operators": dict(Counter(names)),
    }
