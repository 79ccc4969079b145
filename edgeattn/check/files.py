"""Refuses broken and harmful ONNX files without native code: before any parser sees them."""

from __future__ import annotations

import re
import stat
from pathlib import Path

from edgeattn.errors import BundleError, ModelError
from edgeattn.onnxfile import Message, below, last, read_onnx
from edgeattn.runtimes.graphs import external_fault

SMALLEST_BYTES = 16
LARGEST_BYTES = 2**31 - 1  # of one protobuf message
_OLDEST_IR = 3  # the first with operator sets, of ONNX 1.0
_EXPORT_AGAIN = "export the graph again"


def check_file(path: Path, *, shared: bool = False) -> None:
    """Raise ModelError for a file that is not an ONNX graph, or whose weights lie outside of its folder.

    shared: the weights may have other names (hard links), as the candidates of a bundle share theirs.
    """

    def refuse(fact: str, fix: str = _EXPORT_AGAIN) -> ModelError:
        return ModelError(fact, where=str(path), fix=fix)

    try:
        status = path.stat()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else error
        raise refuse(f"cannot be read: {reason}", "give the path of an ONNX file") from error
    if not stat.S_ISREG(status.st_mode):
        raise refuse("is not a file", "give the path of an ONNX file")
    if status.st_size < SMALLEST_BYTES:
        raise refuse(f"not an ONNX graph: {status.st_size} bytes")
    if status.st_size > LARGEST_BYTES:
        fix = "save its weights as external data"
        raise refuse(f"has {status.st_size} bytes; an ONNX file has {LARGEST_BYTES} at most", fix)
    try:
        model = read_onnx(path)
    except BundleError as error:
        raise refuse(f"not a sound ONNX graph: {error.fact}") from error
    version = last(model, "ir_version", 0)
    if not _OLDEST_IR <= version < 2**31:
        raise refuse(f"not a sound ONNX graph: IR version {version}; ONNX files have {_OLDEST_IR} or later")
    sizes: dict[str, int] = {}
    for tensor in below(model, "tensor"):
        name, location = last(tensor, "name", ""), _location(tensor)
        if location is not None and location not in sizes:
            if fault := _file_fault(path.parent, location, shared):
                fix = (
                    "copy the file of its weights too" if "missing" in fault else "save the graph and its weights anew"
                )
                raise refuse(f"tensor {name!r} has its data in {location!r}, {fault}", fix)
            sizes[location] = (path.parent / location).stat().st_size
        if fault := external_fault(tensor, sizes):
            raise refuse(f"tensor {name!r} {fault}")


def _location(tensor: Message) -> str | None:
    entries = {last(entry, "key", ""): last(entry, "value", "") for entry in tensor.get("external", [])}
    return entries.get("location")


def _file_fault(folder: Path, location: str, shared: bool) -> str | None:
    """Why a file of weights is not read; None for one that may be."""
    parts = location.split("/")
    if not re.fullmatch(r"[^/\\\0]+(/[^/\\\0]+)*", location) or {".", ".."} & set(parts):
        return "outside of the graph's folder"
    for depth in range(1, len(parts) + 1):
        file = folder.joinpath(*parts[:depth])
        try:
            status = file.lstat()
        except OSError:
            return "which is missing"
        if stat.S_ISLNK(status.st_mode):
            return "which is a link"
    if not stat.S_ISREG(status.st_mode):
        return "which is not a file"
    if status.st_nlink > 1 and not shared:
        return "which has other names (hard links)"
    return None
