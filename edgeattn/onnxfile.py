"""Reads ONNX files without native code, so that a bundle's graphs can be checked before a runtime sees them.

An ONNX file is one protobuf message: fields of a number, a wire type and a value. Only the fields in _SCHEMA are kept,
with the numbers that onnx.proto gives them; the rest, weights above all, is skipped.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgeattn.errors import BundleError
from edgeattn.manifest import COPY_AGAIN

_MOST_FIELDS = 5_000_000  # some seconds of reading; MiniLM's graph has 20,000
_MOST_TEXT_BYTES = 65_536
_DEEPEST = 60  # messages within messages; a subgraph is three of them

_GRAPH, _TENSOR, _SPARSE = ("graph", "Graph"), ("tensor", "Tensor"), ("sparse", "Sparse")
# Message -> {field number: (name, what it holds: "int", "text" or a message)}.
_SCHEMA: dict[str, dict[int, tuple[str, str]]] = {
    "Model": {1: ("ir_version", "int"), 7: _GRAPH, 20: ("training", "Training"), 25: ("function", "Function")},
    "Training": {1: _GRAPH, 2: _GRAPH},
    "Function": {7: ("node", "Node"), 11: ("attribute", "Attribute")},
    "Graph": {1: ("node", "Node"), 5: _TENSOR, 11: ("input", "Value"), 12: ("output", "Value"), 15: _SPARSE},
    "Node": {
        1: ("input", "text"), 2: ("output", "text"), 3: ("name", "text"), 4: ("op_type", "text"),
        5: ("attribute", "Attribute"), 7: ("domain", "text"), 9: ("metadata", "Entry"),
    },
    "Attribute": {5: _TENSOR, 6: _GRAPH, 10: _TENSOR, 11: _GRAPH, 22: _SPARSE, 23: _SPARSE},
    "Sparse": {1: _TENSOR, 2: _TENSOR},
    "Tensor": {8: ("name", "text"), 13: ("external", "Entry"), 14: ("data_location", "int")},
    "Entry": {1: ("key", "text"), 2: ("value", "text")},
    "Value": {1: ("name", "text"), 2: ("type", "Type")},
    "Type": {1: ("tensor_type", "TensorType")},
    "TensorType": {1: ("element", "int"), 2: ("shape", "Shape")},
    "Shape": {1: ("dim", "Dim")},
    "Dim": {1: ("size", "int"), 2: ("name", "text")},
}  # fmt: skip

Message = dict[str, list[Any]]  # field name -> its values in the order of the file


def read_onnx(path: Path) -> Message:
    """The model's message. Raises BundleError for a file that is not an ONNX model with one graph."""
    try:
        if path.stat().st_size == 0:
            raise ValueError("it is empty")
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            model = _Reader(data).message("Model", 0, len(data))
        if len(graphs := model.get("graph", [])) != 1 or not graphs[0].get("node"):
            raise ValueError("it holds no graph")
    except (OSError, ValueError) as error:
        raise BundleError(f"is not an ONNX model: {error}", where=str(path), fix=COPY_AGAIN) from error
    return model


def last(message: Message, name: str, default: Any) -> Any:
    """The value of a field that is not repeated: where it is given twice, the last one counts."""
    return message[name][-1] if name in message else default


def below(message: Message, name: str) -> Iterator[Message]:
    """The messages that fields of this name hold, at any depth."""
    for key, values in message.items():
        for value in values:
            if isinstance(value, dict):
                if key == name:
                    yield value
                yield from below(value, name)


class _Reader:
    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._fields_left = _MOST_FIELDS

    def message(self, kind: str, at: int, end: int, depth: int = 0) -> Message:
        """The kept fields of the message in bytes `at` to `end`. Raises ValueError for bytes that are not one."""
        found: Message = {}
        if depth > _DEEPEST:
            raise ValueError(f"it is nested more than {_DEEPEST} messages deep")
        while at < end:
            self._fields_left -= 1
            key, at = self._varint(at, end)
            name, holds = _SCHEMA[kind].get(key >> 3, ("", ""))
            wire, value, start = key & 7, 0, at
            if wire == 0:
                value, at = self._varint(at, end)
            elif wire == 2:
                size, start = self._varint(at, end)
                at = start + size
            else:
                at += {1: 8, 5: 4}.get(wire, end + 1)  # the other wire types were never in use
            if at > end or key < 8 or self._fields_left < 0:
                raise ValueError(f"{kind} has a broken field")
            if not holds:
                continue
            if wire != (0 if holds == "int" else 2):
                raise ValueError(f"{kind}.{name} is of another type")
            kept: Any = value
            if holds != "int":
                kept = self._text(start, at) if holds == "text" else self.message(holds, start, at, depth + 1)
            found.setdefault(name, []).append(kept)
        return found

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        """An unsigned number of 64 bits, and where it ends."""
        value = 0
        for place in range(min(10, end - at)):
            byte = self._data[at + place]
            value |= (byte & 127) << 7 * place
            if byte < 128:
                return value & (2**64 - 1), at + place + 1
        raise ValueError("it is cut off")

    def _text(self, start: int, end: int) -> str:
        if end - start > _MOST_TEXT_BYTES:
            raise ValueError(f"it has a name of {end - start} bytes")
        return self._data[start:end].decode("utf-8")
