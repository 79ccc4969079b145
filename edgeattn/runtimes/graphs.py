"""The graphs of a bundle, checked before the native parser of a runtime sees one.

The digests in bundle.json show that a file is the one that was written. They do not show that it is harmless, because
someone who changes a graph can write new digests too.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeattn.errors import BundleError
from edgeattn.manifest import COPY_AGAIN, MANIFEST, FileEntry, TensorSpec
from edgeattn.onnxfile import Message, below, last, read_onnx

_OLDEST_IR = 3  # the first with operator sets, of ONNX 1.0
_STANDARD = ("", "ai.onnx")
_SIZE = re.compile(r"[0-9]{1,18}")
# TensorProto.DataType, by numpy's names.
_DTYPES = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 9: "bool", 10: "float16", 11: "float64"}
_COMPILE_AGAIN = "compile the bundle again; use this one only if you trust its source"


def check_graph(
    path: Path,
    files: Mapping[str, FileEntry],
    *,
    domains: Collection[str],
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    sizes: Mapping[str, int] | None = None,
    document: str = MANIFEST,
) -> None:
    """Raise BundleError for a graph that is broken, reaches outside the bundle, or is not what the manifest says.

    path: a file directly in the bundle's root, as are its weights. files: the manifest's. domains: of the operators
    that the runtime has beside ONNX's own. sizes: axis -> its size, of a graph with a fixed one.
    document: the file that lists the others, for messages.
    """
    model = read_onnx(path)

    def refuse(fact: str, fix: str = _COMPILE_AGAIN) -> BundleError:
        return BundleError(fact, where=str(path), fix=fix)

    version = last(model, "ir_version", 0)
    if not _OLDEST_IR <= version < 2**31:
        raise refuse(f"has IR version {version}; ONNX files have {_OLDEST_IR} or later", COPY_AGAIN)
    operators = {(last(node, "domain", ""), last(node, "op_type", "")) for node in below(model, "node")}
    for domain, name in sorted(operators):
        if domain not in _STANDARD and domain not in domains:
            raise refuse(f"uses the operator {name!r} of {domain!r}, a domain that the runtime does not have")
    listed = {name: entry.bytes for name, entry in files.items()}
    for tensor in below(model, "tensor"):
        if fault := external_fault(tensor, listed):
            raise refuse(f"tensor {last(tensor, 'name', '')!r} {fault}")
    graph = model["graph"][0]
    weights = {last(tensor, "name", "") for tensor in graph.get("tensor", [])}
    given = {name: value for name, value in _values(graph, "input") if name not in weights}
    made = dict(_values(graph, "output"))
    if more := set(given) - {spec.name for spec in inputs}:
        raise refuse(f"has the input {min(more)!r}, which {document} does not list", COPY_AGAIN)
    for which, specs, found in (("input", inputs, given), ("output", outputs, made)):
        for spec in specs:
            if fault := _value_fault(spec, found.get(spec.name), sizes or {}, document):
                raise refuse(f"{which} {spec.name!r} {fault}", COPY_AGAIN)


def tensor_dims(path: Path) -> dict[str, list[Any]]:
    """The dimensions, sizes or names, of each input and output of the graph that states them."""
    graph = read_onnx(path)["graph"][0]
    values = [*_values(graph, "input"), *_values(graph, "output")]
    return {tensor: dims for tensor, (_, dims) in values if dims is not None}


def input_dims(path: Path) -> dict[str, list[Any] | None]:
    """The dimensions, sizes or names, of each input of the graph that is no initializer; None: not stated."""
    graph = read_onnx(path)["graph"][0]
    weights = {last(tensor, "name", "") for tensor in graph.get("tensor", [])}
    return {name: dims for name, (_, dims) in _values(graph, "input") if name not in weights}


def output_names(path: Path) -> list[str]:
    """The names of the graph's outputs, in its order."""
    return [name for name, _ in _values(read_onnx(path)["graph"][0], "output")]


def external_fault(tensor: Message, sizes: Mapping[str, int]) -> str | None:
    """What is wrong with a tensor's external data; None for sound data, and for a tensor inside the graph.

    sizes: bytes of the files that may hold it.
    """
    entries = [(last(entry, "key", ""), last(entry, "value", "")) for entry in tensor.get("external", [])]
    if not entries and last(tensor, "data_location", 0) == 0:
        return None
    values = dict(entries)
    location, offset, length = values.get("location"), values.get("offset", "0"), values.get("length", "0")
    if location is None or len(values) < len(entries) or not (_SIZE.fullmatch(offset) and _SIZE.fullmatch(length)):
        return "has an invalid reference to its data"
    if location not in sizes:
        return f"has its data in {location!r}, which is not a file of the bundle"
    end = int(offset) + int(length)
    if end > sizes[location]:
        return f"has its data at bytes {offset} to {end} of {location}, which has {sizes[location]}"
    return None


def _values(graph: Message, which: str) -> list[tuple[str, tuple[str | None, list[Any] | None]]]:
    """Name, dtype and dims of the graph's inputs or outputs. A dim is a size, a name or None; None: not stated."""
    found = []
    for value in graph.get(which, []):
        kind = last(last(value, "type", {}), "tensor_type", {})
        shape = last(kind, "shape", None)
        dims = None if shape is None else [last(d, "size", last(d, "name", None)) for d in shape.get("dim", [])]
        found.append((last(value, "name", ""), (_DTYPES.get(last(kind, "element", 0)), dims)))
    return found


def _value_fault(
    spec: TensorSpec, found: tuple[str | None, list[Any] | None] | None, fixed: Mapping[str, int], document: str
) -> str | None:
    """How an input or output of the graph differs from the manifest."""
    if found is None:
        return f"of {document} is not in the graph"
    dtype, dims = found
    if dtype != spec.dtype:
        return f"is {dtype or 'of another type'}; {document} says {spec.dtype}"
    if dims is None:
        return None
    sizes = [fixed.get(dim, dim) if isinstance(dim, str) else dim for dim in spec.dims]
    # A name in the graph stands for any size.
    if len(dims) != len(sizes) or any(isinstance(a, int) and a != b for a, b in zip(dims, sizes, strict=False)):
        return f"has the shape {dims}; {document} says {list(spec.dims)}"
    return None
