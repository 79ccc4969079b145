"""Puts token reducers between the blocks of a model, with no code per architecture.

A layer's block is the element of a list of modules that contains its attention. A hook before each block keeps one
token per group; a hook after it merges further and copies each group's result to all of its tokens. So between blocks
every token is present, and masks, recorded hidden states, pooling, heads and losses need no change.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from edgeattn.attention.token_merging import TokenMerging, Tokens, first, gather
from edgeattn.attention.variant import Variant
from edgeattn.convert.layers import Layer
from edgeattn.convert.probe import run_once
from edgeattn.errors import ModelError

# Arguments of blocks, beside hidden states, with a row per token, and how many axes they have: [B or 1, N, ...].
_PER_TOKEN = {"position_ids": 2, "position_embeddings": 3}


@dataclass
class Run:
    """The state of one forward pass through a stack."""

    stack: Stack
    block: int = -1  # the last that was entered
    key: Tensor | None = None  # keys that its attention saw
    key_mask: Tensor | None = None  # before the first merge
    tokens: Tokens | None = None  # since the first merge
    proportional: bool = False
    passed: tuple[Tensor, Tensor] | None = field(default=None, repr=False)  # the last block's output by token, by group

    def saw(self, key: Tensor, key_mask: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """(key mask, group sizes [B, M] or None where they do not count) for a layer's attention."""
        self.key = key
        if self.tokens is None:
            self.key_mask = key_mask
            return key_mask, None
        return self.tokens.key_mask, self.tokens.size if self.proportional else None


_RUN: ContextVar[Run | None] = ContextVar("run", default=None)


def running(attention: nn.Module) -> Run | None:
    """The forward pass that the module `attention` is now called in, if its block merges tokens."""
    run = _RUN.get()
    return run if run is not None and run.stack.attentions[run.block] is attention else None


class Stack:
    """The blocks of one list of modules, from the first that merges tokens to the last."""

    def __init__(self, attentions: Sequence[nn.Module], reducers: Sequence[TokenMerging | None]) -> None:
        self.attentions = list(attentions)
        # Merging after the last block would save nothing.
        self.reducers = [*reducers[:-1], None]
        # So that no layer merges more than half of its tokens.
        self.least = max(each.options.r + each.options.protect for each in reducers if each is not None)

    def attach(self, index: int, block: nn.Module) -> None:
        block.register_forward_pre_hook(partial(self._enter, index), with_kwargs=True)
        # Before other hooks, among them those with which transformers records hidden states.
        block.register_forward_hook(partial(self._leave, index), prepend=True)

    def _enter(
        self, index: int, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        if block.training and getattr(block, "gradient_checkpointing", False):
            raise ModelError(
                f"{type(block).__name__} merges tokens, which gradient checkpointing would not see",
                fix="turn gradient checkpointing off",
            )
        run = _RUN.get()
        if run is None or run.stack is not self or index <= run.block:  # a new pass, even if the last one broke off
            run = Run(self)
            _RUN.set(run)
        run.block, run.key = index, None
        if run.tokens is None:
            return None
        chosen = run.tokens.representative
        names = list(inspect.signature(block.forward).parameters)
        given = {name: _chosen(name, x, chosen) for name, x in kwargs.items()}
        placed = [_chosen(name, x, chosen) for name, x in zip(names, args, strict=False)]
        hidden = args[0] if args else kwargs[names[0]]
        # The last block's output is known by group already: no need to gather it, nor, in a graph, to spread it.
        whole, small = run.passed or (None, None)
        small = small if hidden is whole else gather(hidden, chosen)
        if args:
            placed[0] = small
        else:
            given[names[0]] = small
        return (*placed, *args[len(placed) :]), given

    def _leave(self, index: int, block: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        run, reducer = _RUN.get(), self.reducers[index]
        assert run is not None  # _enter made it
        hidden = output[0] if isinstance(output, tuple) else output
        if reducer is not None:
            if run.key is None:
                raise ModelError(
                    f"the attention of {type(block).__name__} did not go through edgeattn, so no tokens can be merged",
                    fix="leave the model's attention implementation as convert set it",
                )
            b, _, n, _ = run.key.shape
            if not torch.compiler.is_compiling() and (hidden.ndim != 3 or hidden.shape[:2] != (b, n)):
                raise ModelError(
                    f"{type(block).__name__} returns {list(hidden.shape)}, where merging tokens needs [{b}, {n}, ...]: "
                    "batch, tokens, channels",
                    fix="build the model with batch_first, or leave token_merging out",
                )
            metric = run.key.mean(1)
            if run.tokens is None:
                hidden, metric, run.tokens = first(hidden, metric, run.key_mask, self.least)
            hidden, run.tokens = reducer.reduce(hidden, metric, run.tokens)
            run.proportional = reducer.options.proportional
        if index == len(self.reducers) - 1:
            _RUN.set(None)
        if run.tokens is None:
            return None
        run.passed = run.tokens.restore(hidden), hidden
        return (run.passed[0], *output[1:]) if isinstance(output, tuple) else run.passed[0]


def _chosen(name: str, value: Any, index: Tensor) -> Any:
    """A block's argument `name`, reduced to the rows of the tokens `index` [B, M] if it has a row per token."""
    if name == "attention_mask" and isinstance(value, Tensor) and value.ndim == 2:
        return gather(value, index)  # for the block's own use; attention gets the groups' mask
    if name not in _PER_TOKEN or value is None:
        return value
    if isinstance(value, (tuple, list)):
        return type(value)(_chosen(name, each, index) for each in value)
    if value.ndim != _PER_TOKEN[name]:
        raise ModelError(
            f"its layers get {name} with {value.ndim} axes and not {_PER_TOKEN[name]}, "
            "so those of merged tokens cannot be picked",
            fix="leave token_merging out",
        )
    return gather(value, index)


def reduce(
    model: nn.Module, layers: Sequence[Layer], reducers: Mapping[int, TokenMerging], inputs: Mapping[str, Tensor]
) -> None:
    """Puts the reducers of some layers into `model`, in place, and runs it once to check that it still runs.

    layers: all of the model's attention layers, in order; reducers: by layer.
    Raises ModelError for a layer, at or after one that merges, that cannot run on merged tokens.
    """
    stacks: dict[str, list[tuple[str, Layer]]] = {}  # of a list of blocks: (block, layer)
    for layer in layers:
        block = _block(model, layer.name)
        if block is None and layer.index in reducers:
            _refuse(layer, "lies in no list of blocks")
        elif block is not None:
            stacks.setdefault(block.rpartition(".")[0], []).append((block, layer))
    blocks: dict[str, Layer] = {}
    for stack in stacks.values():
        start = next((at for at, (_, layer) in enumerate(stack) if layer.index in reducers), None)
        if start is None:
            continue
        chosen = stack[start:]
        attentions = [model.get_submodule(layer.name) for _, layer in chosen]
        for at, (_, layer) in enumerate(chosen):
            _check(layer, attentions[at] if at else None)
        made = Stack(attentions, [reducers.get(layer.index) for _, layer in chosen])
        for index, (block, layer) in enumerate(chosen):
            made.attach(index, model.get_submodule(block))
            blocks[block] = layer
    _try(model, blocks, inputs)


def _block(model: nn.Module, attention: str) -> str | None:
    """The innermost module around `attention` that is an element of a list of modules."""
    parts = attention.split(".")
    for end in range(len(parts) - 1, 0, -1):
        parent = model.get_submodule(".".join(parts[: end - 1]))
        if isinstance(parent, (nn.ModuleList, nn.Sequential)):
            return ".".join(parts[:end])
    return None


def _check(layer: Layer, after_merge: nn.Module | None) -> None:
    """after_merge: the attention module of a layer that runs on merged tokens."""
    if layer.bias:
        _refuse(layer, "adds a bias of relative positions or a mask of its own")
    if layer.cross:
        _refuse(layer, "attends to another sequence")
    if layer.shape.causal:
        _refuse(layer, "is causal, and a merged token would hold what comes later")
    for part in after_merge.children() if after_merge is not None else ():
        if not isinstance(part, Variant):
            continue
        if not part.dynamic_length or getattr(part.options, "grid_width", None) is not None:
            _refuse(layer, f"has {part.name} on a grid of patches, which is gone once some are merged")


def _refuse(layer: Layer, problem: str) -> None:
    raise ModelError(
        f"token_merging cannot serve a layer that {problem}",
        where=layer.place,
        fix="merge no tokens in or before this layer",
    )


def _try(model: nn.Module, blocks: Mapping[str, Layer], inputs: Mapping[str, Tensor]) -> None:
    runs = dict.fromkeys(blocks, 0)

    def count(block: str, *_: Any) -> None:
        runs[block] += 1

    counters = [model.get_submodule(block).register_forward_pre_hook(partial(count, block)) for block in blocks]
    try:
        run_once(model, inputs, what="merged tokens", fix="leave token_merging out")
    finally:
        for counter in counters:
            counter.remove()
    for block, layer in blocks.items():
        if runs[block] != 1:
            _refuse(layer, f"runs {runs[block]} times")
