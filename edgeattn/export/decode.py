"""The graph of one token: a causal language model whose layers' carried tensors are inputs and outputs."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor
from transformers import PreTrainedModel

from edgeattn.attention.dense import CACHED
from edgeattn.attention.variant import State
from edgeattn.convert.decoding import Token, decoding
from edgeattn.convert.probe import run_once
from edgeattn.errors import ModelError
from edgeattn.export.onnx import export
from edgeattn.interface import BATCH, Carried

_WITHOUT_CACHE: dict[str, Any] = {"use_cache": False}  # of transformers
_EXAMPLE = 3  # tokens in the context that the graph is traced with


def export_decode(
    model: PreTrainedModel, *, opset: int, longest: int | None = None
) -> tuple[ir.Model, tuple[Carried, ...]]:
    """The graph of one token of a language model that `convert` has seen, and the tensors that it carries.

    Inputs: input_ids and position_ids, [B, 1] each, and the carried tensors. Outputs: logits [B, 1, V], and the carried
    tensors after this token. The sequences of a batch are of one length: there is no padding.
    longest: the most tokens that the model takes. Layers that stay dense are ONNX Runtime's operator, where it has one.
    Raises ModelError for a model that cannot read one token at a time, ToolError where the exporter fails.
    """
    if "position_ids" not in inspect.signature(model.forward).parameters:
        fact = f"{type(model).__name__} takes no position_ids, so it cannot be told where in the text a token is"
        raise ModelError(fact, fix="run the whole text at once")
    wrapped = OneToken(model)
    dims = {"input_ids": {0: BATCH}, "position_ids": {0: BATCH}}
    limits: dict[str, tuple[int, int | None]] = {}
    for carried in wrapped.carried:
        dims[carried.name] = {axis: dim for axis, dim in enumerate(carried.dims) if isinstance(dim, str)}
    for axis, window in wrapped.windows.items():
        limits[axis] = 0, min((each - 1 for each in (window, longest) if each is not None), default=None)
    graph, _ = export(wrapped, wrapped.example(), dims, opset=opset, limits=limits, operators=frozenset({CACHED}))
    return graph, wrapped.carried


class OneToken(PreTrainedModel):
    """A language model that reads the token after a context.

    carried: the tensors between its calls. windows: axis that grows -> the window that its keys are kept of, or None.
    """

    _supports_sdpa = True  # this module has no attention of its own; the model's stays as it is
    _supports_attention_backend = True

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__(model.config)
        self.model = model
        ids, positions = self._tokens(0)
        feeds = {"input_ids": ids, "position_ids": positions, **_WITHOUT_CACHE}
        with decoding(None, positions) as first:
            run_once(model, feeds, what="a single token", fix="run the whole text at once")
        self._initial = first.initial
        self.windows = {
            _axis(window): window for window, grows in zip(first.windows, first.grows, strict=True) if grows
        }
        self.carried = tuple(_carried(first))

    def forward(self, input_ids: Tensor, position_ids: Tensor, **carried: Tensor) -> dict[str, Tensor]:
        """The logits [B, 1, V] of the next token, and what is carried on."""
        batch = input_ids.shape[0]
        before = [
            # A tensor without elements, such as the keys of no sinks, is not carried: its size is known.
            tuple(carried.get(_name(layer, place), x.new_zeros(batch, *x.shape[1:])) for place, x in enumerate(state))
            for layer, state in enumerate(self._initial)
        ]
        with decoding(before, position_ids) as token:
            logits = self._logits(input_ids, position_ids)
        return {"logits": logits, **{each.next: _after(token, each) for each in self.carried}}

    def example(self) -> dict[str, Tensor]:
        """Inputs after a context of a few tokens, a batch of two."""
        state: Sequence[State] = self._initial
        for position in range(_EXAMPLE):
            ids, positions = self._tokens(position)
            with decoding(state, positions) as token, torch.no_grad():
                self._logits(ids, positions)
            state = token.carried
        ids, positions = self._tokens(_EXAMPLE)
        values = {each.name: _after(token, each) for each in self.carried}
        return {"input_ids": ids, "position_ids": positions, **values}

    def _logits(self, input_ids: Tensor, position_ids: Tensor) -> Tensor:
        out = self.model(input_ids=input_ids, position_ids=position_ids, **_WITHOUT_CACHE)
        return out.logits  # type: ignore[no-any-return]

    def _tokens(self, position: int) -> tuple[Tensor, Tensor]:
        return torch.ones(2, 1, dtype=torch.int64), torch.full((2, 1), position)


def _carried(first: Token) -> Iterator[Carried]:
    for layer, state in enumerate(first.initial):
        for place, x in enumerate(state):
            if not x.numel() and not first.grows[layer]:
                continue
            dims: list[int | str] = list(x.shape)
            if x.ndim > 1:  # a count of tokens is the same for all sequences, and has one axis
                dims[0] = BATCH
            if first.grows[layer]:
                dims[2] = _axis(first.windows[layer])
            name = _name(layer, place)
            after, in_place = name.replace("state", "next"), first.in_place[layer]
            yield Carried(name=name, next=after, dtype="float32", dims=tuple(dims), in_place=in_place)


def _name(layer: int, place: int) -> str:
    return f"state_{layer}_{place}"


def _axis(window: int | None) -> str:
    """The axis along which keys and values grow."""
    return "past" if window is None else f"past_{window}"


def _after(token: Token, carried: Carried) -> Tensor:
    layer, place = map(int, carried.name.split("_")[1:])
    return token.carried[layer][place]
