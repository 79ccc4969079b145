"""A graph as protobuf, without its large weights, that onnx's own checker has passed. Native code: runs in a worker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgeattn import worker
from edgeattn.check.files import check_file
from edgeattn.errors import ModelError

TIMEOUT_S = 300.0
_SMALL_BYTES = 65_536  # of a tensor whose values rules and shape inference may need: shapes, axes, scales
_STANDARD = ("", "ai.onnx")


def check_graph(path: Path) -> dict[str, Any]:
    """Facts of a graph that passes onnx's own checker: {opset, nodes, operators: {name: count}}.

    Raises ModelError for a file that is not a sound ONNX graph.
    """
    check_file(path)
    facts: dict[str, Any] = worker.call(
        "edgeattn.check.sound:facts", {"path": str(path)}, stage="check", timeout_s=TIMEOUT_S
    )
    return facts


def facts(argument: dict[str, Any]) -> dict[str, Any]:
    """The worker's side of `check_graph`."""
    return facts_of(load(Path(argument["path"])))


def facts_of(model: Any) -> dict[str, Any]:
    """Opset, number of nodes and operators of an onnx ModelProto, its subgraphs included."""
    nodes = list(nodes_of(model.graph))
    names = (node.op_type if node.domain in _STANDARD else f"{node.domain}::{node.op_type}" for node in nodes)
    return {"opset": opset_of(model), "nodes": len(nodes), "operators": dict(Counter(names))}


def opset_of(model: Any) -> int:
    """The version of ONNX's own operators; 0 where the model imports none."""
    return next((entry.version for entry in model.opset_import if entry.domain in _STANDARD), 0)


def nodes_of(graph: Any) -> Iterator[Any]:
    """The nodes of a GraphProto, each before those of its subgraphs."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from nodes_of(inner)


def load(path: Path) -> Any:
    """The ModelProto of a file that `check_file` passed, its external weights of more than 64 KiB as graph inputs.

    Raises ModelError for a graph that onnx's own checker refuses: cycles, duplicate names, missing types.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path, load_external_data=False)
        _read_small(model, path.parent)
        onnx.checker.check_model(model, full_check=False)
    except (DecodeError, onnx.checker.ValidationError, ValueError) as error:
        fact = f"not a sound ONNX graph: {str(error).splitlines()[0]}"
        raise ModelError(fact, where=str(path), fix="export the graph again") from error
    return model


def _read_small(model: Any, folder: Path) -> None:
    """Reads the small external tensors, and makes inputs of the large ones, of which only types and shapes matter.

    Raises ValueError for a tensor whose data does not fill its shape.
    """
    from onnx import helper

    kept: list[Any] = []
    large: list[Any] = []
    for tensor in model.graph.initializer:
        (kept if _inline(tensor, folder, _SMALL_BYTES) else large).append(tensor)
    names = {value.name for value in model.graph.input}
    more = [helper.make_tensor_value_info(each.name, each.data_type, each.dims) for each in large]
    model.graph.input.extend(value for value in more if value.name not in names)
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    functions = [node for function in model.functions for node in function.node]
    for node in (*nodes_of(model.graph), *functions):
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                for tensor in inner.initializer:
                    _inline(tensor, folder, None)
            for tensor in (*([attribute.t] if attribute.HasField("t") else ()), *attribute.tensors):
                _inline(tensor, folder, None)


def _inline(tensor: Any, folder: Path, most_bytes: int | None) -> bool:
    """Puts the tensor's external data into it, if it has at most so many; whether its data is in it."""
    from onnx import TensorProto, numpy_helper

    if tensor.data_location == TensorProto.EXTERNAL:
        raw = external_bytes(tensor, folder, most_bytes)
        if raw is None:
            return False
        del tensor.external_data[:]
        tensor.data_location = TensorProto.DEFAULT
        tensor.raw_data = raw
    try:
        numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"the data of tensor {tensor.name!r} does not fill its shape: {error}") from error
    return True


def external_bytes(tensor: Any, folder: Path, most_bytes: int | None = None) -> bytes | None:
    """The external data of a tensor, in a file that `check_file` passed; None for more than `most_bytes`."""
    entries: dict[str, str] = {entry.key: entry.value for entry in tensor.external_data}
    file = folder / entries["location"]
    start = int(entries.get("offset", 0))
    length = int(entries.get("length", 0)) or file.stat().st_size - start
    if most_bytes is not None and length > most_bytes:
        return None
    with file.open("rb") as data:
        data.seek(start)
        raw: bytes = data.read(length)
    return raw
