"""Reads texts one token at a time, with a graph of one token whose carried tensors stay in the runtime."""

from __future__ import annotations

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
    carried tensors of that context are inputs too, once; later texts may go on from the same context.
    """

    def __init__(self, session: Session, carried: Sequence[Carried]) -> None:
        """Raises DeviceError for a session that cannot keep outputs."""
        if not isinstance(session, KeepingSession):
            raise DeviceError(f"{type(session).__name__} cannot carry tensors", fix="decode with onnxruntime")
        self._session = session
        self._carried = tuple(carried)
        self._contexts: dict[int, dict[str, Any]] = {}  # length -> carried tensors, in the runtime
        self._state: dict[str, Any] = {}

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
        first = self.start(feeds)[0]
        return self._session.memory({**first, **self.carried()})

    def start(self, feeds: Arrays) -> list[Arrays]:
        """Go back to the context that feeds of `run` start from. Returns the inputs of each token, for `step`."""
        ids = feeds[TOKENS]
        batch, count = ids.shape
        positions = feeds.get(POSITIONS)
        if positions is None:
            positions = np.broadcast_to(np.arange(count), ids.shape)
        length = int(positions[0, 0])
        names = {carried.name for carried in self._carried}
        if names and names <= feeds.keys():
            self._contexts[length] = self._session.kept({name: np.array(feeds[name]) for name in names})
        self._state = self._session.kept(self._nothing(batch)) if length == 0 else dict(self._contexts[length])
        return [
            {
                TOKENS: np.ascontiguousarray(ids[:, t : t + 1]),
                POSITIONS: np.ascontiguousarray(positions[:, t : t + 1], dtype=np.int64),
            }
            for t in range(count)
        ]

    def step(self, token: Arrays) -> Arrays:
        """The outputs of the next token; what is carried stays in the runtime."""
        outputs, kept = self._session.run_keeping(token, self._state, [carried.next for carried in self._carried])
        self._state = {carried.name: kept[carried.next] for carried in self._carried}
        return outputs

    def carried(self) -> Arrays:
        """What is carried after the last token."""
        return {name: self._session.array(value) for name, value in self._state.items()}

    @property
    def carried_bytes(self) -> float:
        """Bytes that are carried for one text after the last token."""
        arrays = self.carried().values()
        return float(sum(array.nbytes / (array.shape[0] if array.ndim > 1 else 1) for array in arrays))

    def _nothing(self, batch: int) -> dict[str, Any]:
        """What is carried before the first token."""
        return {
            carried.name: np.zeros(
                [batch if dim == BATCH else 0 if isinstance(dim, str) else dim for dim in carried.dims], carried.dtype
            )
            for carried in self._carried
        }
