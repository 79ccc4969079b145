"""The attention layers of a model, noted while it runs once, and the attention modules that never call `attend`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from edgeattn.attention.variant import Shape

SLOT = "edgeattn"  # the attribute of an attention module that holds its variant
_PATTERN = "edgeattn_pattern"  # the attribute that holds what only its mask knows: see `Calls.note_pattern`

# Under these names attention modules are given the sequence that keys and values come from.
_OTHER_SEQUENCE = ("key_value_states", "encoder_hidden_states", "cross_attention_states", "key_hidden_states",
                   "context", "context_hidden_states")  # fmt: skip
_ATTENTION = re.compile(r"[Aa]ttention|Attn$")  # in a class's name
# Parts of attention modules, by the ends of their classes' names.
_PARTS = ("Projection", "Output", "Norm")


@dataclass(frozen=True)
class Layer:
    """One attention layer, as seen when it ran."""

    index: int
    name: str  # qualified name of the attention module
    shape: Shape
    cross: bool  # keys and values come from another sequence than the queries
    bias: bool  # adds to its scores: relative positions, or a mask that is neither padding nor causal
    length: int  # queries that it saw
    keys: int  # keys that it saw: as many as queries, except in cross-attention
    kind: str  # the class of the attention module
    scores: str | None = None  # what its own softmax has beside them: a cap, or a sink
    window: int | None = None  # its own dense attention does not see keys at this distance and beyond

    @property
    def place(self) -> str:
        """How errors call it."""
        return f"layer {self.index} ({self.name})"


@dataclass
class Calls:
    """What is noted while a model runs once: its attention layers, in order, and attention that is not ours."""

    names: dict[nn.Module, str]
    layers: dict[nn.Module, Layer] = field(default_factory=dict)
    cross: set[nn.Module] = field(default_factory=set)  # those whose last call was given another sequence
    masks: dict[int, tuple[Tensor, bool, int | None]] = field(default_factory=dict)  # by id: (mask, causal, window)
    ran: dict[nn.Module, bool] = field(default_factory=dict)  # attention modules, and whether given a mask of `masks`
    within: list[nn.Module] = field(default_factory=list)  # the modules that are running, the innermost last

    def left_out(self) -> dict[nn.Module, str]:
        """The innermost attention modules that ran and never called `attend`, with their names, in order."""
        ours = [self.names[module] for module in self.layers]
        others = {module: self.names[module] for module in self.ran if module not in self.layers}
        # A part of a layer of ours, or a module around one.
        apart = {m: name for m, name in others.items() if not any(_within(name, o) or _within(o, name) for o in ours)}
        return {m: name for m, name in apart.items() if not any(_within(o, name) for o in apart.values() if o != name)}

    def is_mask(self, value: Any) -> bool:
        """Whether `value` is one of `masks`, or a view of one."""
        if not isinstance(value, Tensor) or value.dtype != torch.bool:
            return False
        own = value.untyped_storage().data_ptr()
        return any(own == mask.untyped_storage().data_ptr() for mask, _, _ in self.masks.values())

    def note_pattern(self, module: nn.Module, mask: Tensor | None, causal: bool, window: int | None) -> None:
        """Keeps with `module` what its mask says, where that is not what the module says itself.

        Some layers leave causality or a window to their mask (Qwen2-MoE). edgeattn never makes such masks, so it must
        know what they would be in every later run. A layer that is given no mask sees everything (EmbeddingGemma).
        """
        if mask is not None and id(mask) not in self.masks:
            return  # one of the model's own
        seen = (False, None) if mask is None else self.masks[id(mask)][1:]
        if seen != (causal, window):
            setattr(module, _PATTERN, seen)


def pattern_of(module: nn.Module, causal: bool, window: int | None) -> tuple[bool, int | None]:
    """(causal, window) of a layer: what its mask was found to say, or else what it says itself."""
    return getattr(module, _PATTERN, (causal, window))


def _within(name: str, outer: str) -> bool:
    return name == outer or name.startswith(f"{outer}.") or not outer


_CALLS: ContextVar[Calls | None] = ContextVar("calls", default=None)


def recording() -> Calls | None:
    """What is being noted, while a model's layers are being found."""
    return _CALLS.get()


def place_of(module: nn.Module) -> str:
    """How errors call the layer of an attention module."""
    calls = _CALLS.get()
    if calls is not None and module in calls.names:
        return calls.names[module]
    return getattr(getattr(module, SLOT, None), "place", type(module).__name__)


@contextmanager
def recorded_calls(model: nn.Module) -> Iterator[Calls]:
    """Within the block, every attention layer of `model` that runs is noted, in order."""
    calls = Calls({module: name for name, module in model.named_modules()})

    def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        kind = type(module).__name__
        calls.within.append(module)
        if _ATTENTION.search(kind) and not kind.endswith(_PARTS):
            calls.ran[module] = any(calls.is_mask(x) for x in (*args, *kwargs.values()))
        given = any(isinstance(kwargs.get(name), Tensor) for name in _OTHER_SEQUENCE)
        (calls.cross.add if given or "CrossAttention" in kind else calls.cross.discard)(module)

    for module in calls.names:
        vars(module).pop(_PATTERN, None)  # of an earlier look, perhaps with another mask

    def leave(module: nn.Module, *_: Any) -> None:
        while calls.within and calls.within.pop() is not module:
            pass

    hooks = [module.register_forward_pre_hook(note, with_kwargs=True) for module in calls.names]
    hooks += [module.register_forward_hook(leave) for module in calls.names]
    token = _CALLS.set(calls)
    try:
        yield calls
    finally:
        _CALLS.reset(token)
        for hook in hooks:
            hook.remove()
