"""Reads texts one token at a time, with a graph of one token whose carried tensors stay in the runtime."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeattn.errors import DeviceError
from edgeattn.interface import BATCH, Carried
from edgeattn.manifest import DecodeGraph
from edgeattn.runtimes import RUNTIMES
from edgeattn.runtimes.base import Arrays, KeepingSession, Memory, Session
from edgeattn.scratch import scratch

TOKENS, POSITIONS = "input_ids", "position_ids"


def open_decoder(root: Path, graph: DecodeGraph, threads: int | None = None) -> Decoder:
    """The decoder of a graph in the folder `root`, in ONNX Runtime with its default settings.

    Raises BundleError for a graph that cannot be read, DeviceError where ONNX Runtime is missing.
    """
    runtime = RUNTIMES["onnxruntime"]
    with scratch("decode") as folder:
        runtime.build(root / graph.graph, folder, method=graph.method)
        return Decoder(runtime.load(root, folder, threads), graph.carried)


class Decoder:
    """A session of whole texts, as that of the graph for whole texts is, which reads them token by token.

    Inputs: input_ids [B, N]; other inputs of the whole graph are not read, since there is no padding. Beside them,
    position_ids [B, N], where the text goes on after a context of as many tokens as its first position says. The
    carried tensors of that context are inputs too, once; later texts, no longer than the first, may go on from it.
    """

    def __init__(self, session: Session, carried: Sequence[Carried]) -> None:
        """Raises DeviceError for a session that cannot keep outputs."""
        if not isinstance(session, KeepingSession):
            raise DeviceError(f"{type(session).__name__} cannot carry tensors", fix="decode with onnxruntime")
        self._session = session
        self._carried = tuple(carried)
        self._keep = [each.next for each in carried]
        self._in_place = {each.next: each.name for each in carried if each.in_place}
        self._grows = {each.name: _growing(each) for each in carried if each.in_place}  # name -> the axis
        self._contexts: dict[int, dict[str, Any]] = {}  # length -> carried tensors, in the runtime
        self._state: dict[str, Any] = {}
        self._length = 0  # of the text until now

    def run(self, feeds: Arrays) -> Arrays:
        """The outputs of all tokens: logits [B, N, V]."""
        tokens = self.start(feeds)
        outputs = [self.step(token) for token in tokens]
        return {name: np.concatenate([each[name] for each in outputs], 1) for name in outputs[0]}

    def describe(self) -> dict[str, Any]:
        """JSON facts of the session."""
        return self._session.describe()

    def memory(self, feeds: Arrays) -> Memory:
        """Of the step from the context that these feeds start from."""
        token = self.start(feeds)[0]
        state = self._state
        return self._session.memory_of(
            lambda: self._session.run_keeping(token, state, self._keep, self._in_place), {**token, **self.carried()}
        )

    def start(self, feeds: Arrays) -> list[Arrays]:
        """Go back to the context that feeds of `run` start from. Returns the inputs of each token, for `step`."""
        ids = feeds[TOKENS]
        batch, count = ids.shape
        positions = feeds.get(POSITIONS)
        if positions is None:
            positions = np.broadcast_to(np.arange(count), ids.shape)
        self._length = int(positions[0, 0])
        names = {carried.name for carried in self._carried}
        if self._length == 0 or names <= feeds.keys():
            given = self._nothing(batch) if self._length == 0 else {name: feeds[name] for name in names}
            self._contexts[self._length] = self._session.kept(self._with_room(given, self._length + count))
        self._state = dict(self._contexts[self._length])
        return [
            {
                TOKENS: np.ascontiguousarray(ids[:, t : t + 1]),
                POSITIONS: np.ascontiguousarray(positions[:, t : t + 1], dtype=np.int64),
            }
            for t in range(count)
        ]

    def step(self, token: Arrays) -> Arrays:
        """The outputs of the next token; what is carried stays in the runtime."""
        outputs, kept = self._session.run_keeping(token, self._state, self._keep, self._in_place)
        self._state = {carried.name: kept[carried.next] for carried in self._carried}
        self._length += 1
        return outputs

    def carried(self) -> Arrays:
        """What is carried after the last token."""
        arrays = {name: self._session.array(value) for name, value in self._state.items()}
        cut = {name: np.take(arrays[name], range(self._length), axis) for name, axis in self._grows.items()}
        return {**arrays, **cut}

    @property
    def carried_bytes(self) -> float:
        """Bytes that are carried for one text after the last token."""
        return sum(self._bytes(carried) for carried in self._carried)

    def _bytes(self, carried: Carried) -> float:
        if carried.name in self._grows:  # its array is as large as a cache, and has room for more
            sizes = [1 if dim == BATCH else self._length if isinstance(dim, str) else dim for dim in carried.dims]
            return float(math.prod(sizes) * np.dtype(carried.dtype).itemsize)
        array = self._session.array(self._state[carried.name])
        return float(array.nbytes / (array.shape[0] if BATCH in carried.dims else 1))

    def _with_room(self, arrays: Arrays, rows: int) -> Arrays:
        """Copies of the arrays; those that tokens write their rows into have room for as many tokens."""
        return {
            name: np.pad(array, _widths(array, self._grows[name], rows)) if name in self._grows else array.copy()
            for name, array in arrays.items()
        }

    def _nothing(self, batch: int) -> dict[str, Any]:
        """What is carried before the first token."""
        return {
            carried.name: np.zeros(
                [batch if dim == BATCH else 0 if isinstance(dim, str) else dim for dim in carried.dims], carried.dtype
            )
            for carried in self._carried
        }


def _growing(carried: Carried) -> int:
    """The axis that grows with each token."""
    return next(axis for axis, dim in enumerate(carried.dims) if isinstance(dim, str) and dim != BATCH)


def _widths(array: Any, axis: int, size: int) -> list[tuple[int, int]]:
    return [(0, size - length if place == axis else 0) for place, length in enumerate(array.shape)]
