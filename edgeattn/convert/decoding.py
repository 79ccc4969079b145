"""Decoding: a converted model reads one token at a time, and its layers carry what they need of the tokens before.

A variant carries the state of its `step`, whose size is constant. A layer that stays dense carries its keys and values,
which grow by one token each time; with a window of its own, the last ones.

    with decoding(None, places[:, :1]) as first:                # every layer starts with its initial state
        model(input_ids=ids[:, :1], position_ids=places[:, :1], use_cache=False)
    with decoding(first.carried, places[:, 1:2]) as second:     # `ids[:, 1:2]` after the token before
        ...
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import torch
from torch import Tensor

from edgeattn.attention.dense import CACHED, all_seen, cached
from edgeattn.attention.lowering import allowed
from edgeattn.attention.variant import State, Variant


@dataclass
class Token:
    """The forward pass of one token of each sequence in a batch. Its lists have one item per attention call, in order.

    before: what each call carries from the tokens before; None for the first token. carried: the same after this token.
    positions: [B, 1], of the token in its text.
    """

    before: Sequence[State] | None
    positions: Tensor
    initial: list[State] = field(default_factory=list)  # filled for the first token
    carried: list[State] = field(default_factory=list)
    windows: list[int | None] = field(default_factory=list)  # most tokens that its keys are kept of; None: no limit
    grows: list[bool] = field(default_factory=list)  # whether what it carries has one row per token, along axis 2
    in_place: list[bool] = field(default_factory=list)  # whether a runtime may write that row where the others are

    def attend(
        self,
        variant: Variant | None,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        scaling: float,
        *,
        window: int | None,
        softcap: float | None,
        sinks: Tensor | None,
    ) -> Tensor:
        """The attention of this token: q [B, H, 1, D], k, v [B, H or fewer, 1, D] -> [B, H, 1, Dv].

        window, softcap, sinks: of the layer's own dense attention. variant: one with a `step`; None: dense.
        """
        groups = q.shape[1] // k.shape[1]
        if variant is None:
            initial = tuple(x.new_zeros(x.shape[0], x.shape[1], 0, x.shape[3]) for x in (k, v))
        else:
            initial = variant.initial_state(q.shape[0], v.shape[-1])
        before = initial if self.before is None else self.before[len(self.carried)]
        self.initial.append(initial)
        self.grows.append(variant is None)
        self.windows.append(window if variant is None else None)
        plain = variant is None and window is None and softcap is None and sinks is None
        self.in_place.append(plain)
        if plain and allowed(CACHED):
            past_keys, past_values = before
            out, keys, values = cached(q, k, v, past_keys, past_values, self.positions, scaling)
            self.carried.append((keys, values))
            return out
        if variant is not None:
            out, carried = variant.step(q, k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1), before)
            self.carried.append(carried)
            return out
        keys, values = (torch.cat([old, new], 2) for old, new in zip(before, (k, v), strict=True))
        # The queries that share a key head are rows of one product, so that keys are not repeated for each.
        rows = q.unflatten(1, (k.shape[1], groups)).flatten(2, 3)
        if sinks is not None and sinks.ndim == 1:
            sinks = sinks.view(1, k.shape[1], groups, 1)
        out = all_seen(rows, keys, values, scaling, softcap=softcap, sinks=sinks)
        self.carried.append((keys, values) if window is None else (_last(keys, window - 1), _last(values, window - 1)))
        return out.flatten(1, 2).unsqueeze(2)


def _last(x: Tensor, count: int) -> Tensor:
    return x[:, :, -count:] if count else x[:, :, :0]


_TOKEN: ContextVar[Token | None] = ContextVar("token", default=None)


def decoding_now() -> Token | None:
    """The token that is being read, while a model decodes."""
    return _TOKEN.get()


@contextmanager
def decoding(before: Sequence[State] | None, positions: Tensor) -> Iterator[Token]:
    """Within the block, a forward pass of one token continues from `before`; None: it is the first token.

    positions: [B, 1], of the token.
    """
    token = Token(before, positions)
    reset = _TOKEN.set(token)
    try:
        yield token
    finally:
        _TOKEN.reset(reset)
