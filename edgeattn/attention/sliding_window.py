"""Sliding-window attention: exact softmax over the near keys, plus a few leading tokens that all see."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from edgeattn.attention.blocks import (
    around,
    attended,
    band,
    first_attended,
    hidden,
    join,
    leading,
    mix,
    pick,
    pick_pairs,
    see_all,
    take,
    take_band,
    take_pairs,
    where_seen,
)
from edgeattn.attention.variant import Cost, Shape, State, Variant, VariantOptions


class SlidingWindowOptions(VariantOptions):
    window: int = Field(
        128,
        ge=2,
        le=65536,
        multiple_of=2,
        description="keys seen: half before the token and half after it; in a causal layer itself and those before it",
    )
    global_tokens: int = Field(
        1,
        ge=0,
        le=128,
        description="leading tokens that all tokens see, and that see all; in a causal layer they are attention sinks",
    )


class SlidingWindow(Variant):
    """Query i attends to key j where |i - j| <= window / 2, or where i or j is among the global tokens.

    In a causal layer it attends to the `window` keys up to and including itself, and to the global tokens before it:
    the sinks of StreamingLLM, which see only their own past. The global tokens are the attended ones among the first
    `global_tokens` positions from the first attended token on, so left padding changes nothing.
    """

    name = "sliding_window"
    Options: ClassVar[type[VariantOptions]] = SlidingWindowOptions
    source = (
        "Beltagy et al. 2020, Longformer (arXiv 2004.05150), section 3.1; "
        "sinks from Xiao et al. 2023, StreamingLLM (arXiv 2309.17453), section 3.2"
    )
    causal = True
    biased = True
    rotation_invariant = True
    options: SlidingWindowOptions

    @property
    def spacing(self) -> int:
        """The distance between two keys of one window."""
        return 1

    @property
    def _reach(self) -> tuple[int, int]:
        """How many keys before and after itself a query sees."""
        window = self.options.window
        return (window - 1, 0) if self.shape.causal else (window // 2, window // 2)

    def reference(
        self, q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor | None = None, bias: Tensor | None = None
    ) -> Tensor:
        n, (before, after) = q.shape[-2], self._reach
        index = torch.arange(n, device=q.device)
        age = index[:, None] - index
        seen = (age % self.spacing == 0) & (age <= before * self.spacing) & (age >= -after * self.spacing)
        first = first_attended(key_mask, n, q.device)
        is_global = (index >= first) & (index < first + self.options.global_tokens)  # [B or 1, N]
        seen = seen | is_global[:, None, None, :]
        seen = seen & (age >= 0) if self.shape.causal else seen | is_global[:, None, :, None]
        if key_mask is not None:
            seen = seen & key_mask[:, None, None, :]
        scores = q.float() @ k.float().mT * self.shape.scaling
        if bias is not None:
            scores = scores + bias.float()
        return scores.masked_fill(~seen, torch.finfo(scores.dtype).min).softmax(-1) @ v.float()

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor | None = None, bias: Tensor | None = None
    ) -> Tensor:
        n, g, (before, after), device = q.shape[2], self.options.global_tokens, self._reach, q.device
        size, scaling = _block(self.options.window), self.shape.scaling
        # g more positions than tokens, so that each leading position has a row below, in a short sequence too.
        own = around(n + g, size, 0, 0, device, self.spacing)
        near = around(n + g, size, before, after, device, self.spacing)  # [blocks, M]
        seen, reach = attended(key_mask, near, n), band(size, before, after, device)
        near_bias = None
        if bias is not None:
            near_bias = take_band(bias, own, before, after) if self.spacing == 1 else take_pairs(bias, own, near)
        if not g:
            added = _added(seen, reach, near_bias)
            out = mix(take(q, own), take(k, near), take(v, near), added, scaling)
            return join(out, self.spacing)[:, :, :n]

        # The leading tokens are extra keys of every block, and are left out of its other keys.
        first, exists = leading(key_mask, n, g, device)
        seen = seen & (near > first[:, -1:, None])
        seen = torch.cat([exists[:, None].expand(-1, near.shape[0], -1), seen], -1)
        if self.shape.causal:
            passed = first[:, None, None] <= own[..., None]  # [B or 1, blocks, size, g]
            reach = torch.cat([passed, reach.expand(*passed.shape[:3], -1)], -1)
        else:
            reach = torch.cat([reach.new_ones(size, g), reach], -1)
        own_bias = None
        if bias is not None and near_bias is not None:
            own_bias, to_leading = pick_pairs(bias, first)
            near_bias = near_bias.expand(to_leading.shape[0], *near_bias.shape[1:])
            near_bias = torch.cat([take(to_leading, own), near_bias], -1)
        keys, values, rows = k, v, first
        if key_mask is not None:  # their places differ by sequence; copies in front of it are in the same place
            keys, values = (torch.cat([pick(x, first), x], 2) for x in (k, v))
            rows, near = torch.arange(g, device=device)[None], near + g
        near = torch.cat([rows.expand(near.shape[0], -1), near], 1)
        out = mix(take(q, own), take(keys, near), take(values, near), _added(seen, reach, near_bias), scaling)
        out = join(out, self.spacing)
        if not self.shape.causal:
            dense = see_all(pick(q, first), k, v, key_mask, scaling, own_bias)
            out = out.scatter(2, first[:, None, :, None].expand(dense.shape), dense)
        return out[:, :, :n]

    def initial_state(self, batch: int, value_dim: int) -> State:
        h, d, g = self.shape.heads, self.shape.head_dim, self.options.global_tokens
        span = self.options.window * self.spacing
        near_k, near_v, sink_k, sink_v = (torch.zeros(batch, h, n, x) for n in (span, g) for x in (d, value_dim))
        return near_k, near_v, sink_k, sink_v, torch.zeros(1)

    def step(self, q: Tensor, k: Tensor, v: Tensor, state: State) -> tuple[Tensor, State]:
        near_k, near_v, sink_k, sink_v, count = state  # count: tokens before this one
        g, span = self.options.global_tokens, near_k.shape[2]
        near_k, near_v = (torch.cat([old[:, :, 1:], x.float()], 2) for old, x in ((near_k, k), (near_v, v)))
        order = torch.arange(g, device=q.device)
        here = (order == count)[:, None]
        sink_k, sink_v = (torch.where(here, x.float(), old) for old, x in ((sink_k, k), (sink_v, v)))
        # The newest token is in the last slot; its window is the slots at multiples of the spacing before it.
        slots = torch.arange(self.spacing - 1, span, self.spacing, device=q.device)
        seen = torch.cat([order <= count, slots - (span - 1) + count >= g])
        keys, values = (
            torch.cat([sinks, near[:, :, self.spacing - 1 :: self.spacing]], 2)
            for sinks, near in ((sink_k, near_k), (sink_v, near_v))
        )
        scores = (q.float() * self.shape.scaling) @ keys.mT + hidden(seen)
        out = (scores.softmax(-1) @ values).to(v.dtype)
        return out, (near_k, near_v, sink_k, sink_v, count + 1)

    @classmethod
    def cost(cls, options: VariantOptions, length: int, shape: Shape) -> Cost:
        assert isinstance(options, SlidingWindowOptions)
        h, d, n, g, size = shape.heads, shape.head_dim, length, options.global_tokens, _block(options.window)
        span = size + options.window + g
        everywhere = 0 if shape.causal else g  # queries that see all keys
        return Cost(
            flops=4 * h * n * d * (span + everywhere),
            # q, k, v and the result once, keys and values again for every block that they are near to, scores twice
            bytes=4 * h * n * (4 * d + 2 * d * span // size + 2 * span + 2 * everywhere),
        )


def _block(window: int) -> int:
    """Queries per block. With more, each query has more masked keys; with fewer, each key is copied to more blocks.

    On a CPU half a window is fastest for windows of 64 to 256. Outside that these bounds are 10 to 33 % faster.
    """
    return min(max(window // 2, 32), 128)


def _added(seen: Tensor, reach: Tensor, bias: Tensor | None) -> Tensor:
    """The term added to the scores, [B or 1, 1 or H, blocks, size, M].

    seen: [B or 1, blocks, M]   reach: [size, M] or [B or 1, blocks, size, M]   bias: [B or 1, H or 1, blocks, size, M]
    Without a bias it is made once for all heads, so that nothing of the size of the scores is made beside them.
    """
    if bias is not None:
        return where_seen(bias, (seen[:, :, None] & reach)[:, None])
    return torch.minimum(hidden(seen)[:, :, None], hidden(reach))[:, None]
