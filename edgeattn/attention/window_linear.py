"""Exact softmax over near keys and linear attention over the others, under one normaliser."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import pad

from edgeattn.attention.blocks import around, attended, cut, first_attended, hidden, later_by, leading, pick, take
from edgeattn.attention.hedgehog import Hedgehog, HedgehogOptions
from edgeattn.attention.linear import prefix_states, promoted
from edgeattn.attention.variant import Cost, Shape, State, VariantOptions


class WindowLinearOptions(HedgehogOptions):
    window: int = Field(
        64,
        ge=2,
        le=65536,
        description="tokens of a block, which sees itself and the blocks beside it exactly; in a causal layer only "
        "the one before it",
    )
    sinks: int = Field(1, ge=0, le=128, description="leading tokens that all tokens see exactly")


class WindowLinear(Hedgehog):
    """y_i = (sum_near g e^(s_ij - c_i) v_j + sum_far phi(q_i) phi(k_j) v_j) / (the same with v = 1).

    s are the scaled scores, c_i the highest near one, g a learned factor per head, phi Hedgehog's features. Near keys
    are those of the query's own block and the blocks beside it (LoLCATs' terraces): with windows that move with every
    token, near keys would have to be subtracted from a sum, and rounding would show. The `sinks` positions from the
    first attended token on are near to all. Blocks are cut by position, so a text padded on the left is cut elsewhere.
    """

    name = "window_linear"
    Options = WindowLinearOptions
    source = "Zhang et al. 2024, LoLCATs (arXiv 2410.10254), equation 6 and appendix A"
    cross = False
    weighs_keys = False
    options: WindowLinearOptions

    def __init__(self, shape: Shape, options: WindowLinearOptions) -> None:
        super().__init__(shape, options)
        self.window_factor = nn.Parameter(torch.zeros(shape.heads, 1, 1))  # g is its sigmoid

    @property
    def operators(self) -> frozenset[str]:
        return frozenset()  # the operator cannot leave the keys of a window out

    def reference(
        self, q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor | None = None, key_weight: Tensor | None = None
    ) -> Tensor:
        q, k, v, n = q.float(), k.float(), v.float(), q.shape[-2]
        index = torch.arange(n, device=q.device)
        block = index // self.options.window
        positions, exists = leading(key_mask, n, self.options.sinks, q.device)
        sink = ((index[:, None] == positions[:, None, :]) & exists[:, None, :]).any(-1)  # [B or 1, N]
        seen = torch.ones(1, 1, n, n, dtype=torch.bool, device=q.device)
        if self.shape.causal:
            seen = seen.tril()
        if key_mask is not None:
            seen = seen & key_mask[:, None, None, :]
        near = seen & (((block[:, None] - block).abs() <= 1) | sink[:, None, None, :])
        scores = (q @ k.mT * self.shape.scaling).masked_fill(~near, torch.finfo(torch.float32).min)
        exact = (scores - scores.amax(-1, keepdim=True)).exp() * near * self.window_factor.float().sigmoid()
        query, key = (torch.cat(self.features(x), dim=-1) for x in (self.query(q), self.key(k)))
        weights = exact + (query @ key.mT) * (seen & ~near)
        return weights @ v / weights.sum(-1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor | None = None, key_weight: Tensor | None = None
    ) -> Tensor:
        n = q.shape[2]
        value = pad(promoted(v), (0, 1), value=1.0)  # a last column whose sums are the divisor
        out = (self._near(q, k, value, key_mask) + self._far(q, k, value, key_mask)).flatten(2, 3)[:, :, :n]
        return (out[..., :-1] / out[..., -1:]).to(v.dtype)

    def _near(self, q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor | None) -> Tensor:
        """The softmax over near keys before it is normalised, [B, H, blocks, size, Dv], fp32."""
        n, size, sinks = q.shape[2], self.options.window, self.options.sinks
        positions, exists = leading(key_mask, n, sinks, q.device)
        behind = first_attended(key_mask, n, q.device) + sinks
        index = around(n, size, size, 0 if self.shape.causal else size, q.device)  # [blocks, M]
        # A sink counts as a leading key, which every block has in front, and not as a key of its own block.
        seen = attended(key_mask, index, n) & (index >= behind[..., None])
        seen = torch.cat([exists[:, None].expand(-1, index.shape[0], -1), seen], -1)
        bias = hidden(seen)[:, :, None]  # [B or 1, blocks, 1, sinks + M]
        own = around(n, size, 0, 0, q.device)  # [blocks, size]
        if self.shape.causal:
            passed = positions[:, None, None] <= own[..., None]  # [B or 1, blocks, size, sinks]
            past = torch.cat([passed, (index[:, None] <= own[..., None]).expand(*passed.shape[:3], -1)], -1)
            bias = torch.minimum(bias, hidden(past))
        index = torch.cat(
            [torch.arange(sinks, device=q.device).expand(index.shape[0], -1), index.clamp_min(0) + sinks], 1
        )
        keys, values = (take(torch.cat([pick(x, positions), x], 2), index) for x in (k, v))
        scores = promoted(take(q * self.shape.scaling, own) @ keys.mT) + bias[:, None]
        weights = (scores - scores.amax(-1, keepdim=True)).exp() * promoted(self.window_factor).sigmoid()[:, None]
        return weights @ values

    def _far(self, q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor | None) -> Tensor:
        """Linear attention to blocks that are not near, without the sinks, shaped as `_near`."""
        n, size = q.shape[2], self.options.window
        behind = first_attended(key_mask, n, q.device) + self.options.sinks
        counts = torch.arange(n, device=q.device) >= behind  # [B or 1, N]
        if key_mask is not None:
            counts = counts & key_mask
        values = cut(v * counts[:, None, :, None], size, length=n)
        out = torch.zeros((), device=q.device)
        queries, keys = cut(self.query(q), size, length=n), cut(self.key(k), size, length=n)
        for query, key in zip(self.features(queries), self.features(keys), strict=True):
            out = out + query @ self._states(key.mT @ values)
        return out

    def _states(self, states: Tensor) -> Tensor:
        """states: [B, H, blocks, F, X], one per block -> for each block the sum of those far from it."""
        before = later_by(prefix_states(states), 1)
        if self.shape.causal:
            return before
        return before + later_by(prefix_states(states.flip(2)), 1).flip(2)

    def initial_state(self, batch: int, value_dim: int) -> State:
        h, d, size, sinks = self.shape.heads, self.shape.head_dim, self.options.window, self.options.sinks
        # Keys and values of the block before, of this block, and of the sinks; sums over the far ones; tokens so far.
        kept = [torch.zeros(batch, h, count, x) for count in (size, size, sinks) for x in (d, value_dim)]
        return *kept, torch.zeros(batch, h, self.size, value_dim), torch.zeros(batch, h, self.size, 1), torch.zeros(1)

    def step(self, q: Tensor, k: Tensor, v: Tensor, state: State) -> tuple[Tensor, State]:
        *kept, mixed, total, count = state
        before_k, before_v, own_k, own_v, sink_k, sink_v = kept
        size, sinks = self.options.window, self.options.sinks
        k, v = k.float(), v.float()
        slot = torch.arange(size, device=q.device)
        start = count - count % size  # position of this block's first token
        fresh = count == start
        # When a block begins, the second block before it becomes far.
        far = ((start - 2 * size + slot) >= sinks)[:, None].float() * fresh
        keys = torch.cat(self.features(self.key(before_k)), dim=-1).mT
        mixed, total = mixed + keys @ (before_v * far), total + keys @ far
        before_k, before_v = (torch.where(fresh, own, old) for own, old in ((own_k, before_k), (own_v, before_v)))
        here = (slot == count - start)[:, None]
        own_k, own_v = (torch.where(here, x, old) for x, old in ((k, own_k), (v, own_v)))
        order = torch.arange(sinks, device=q.device)
        sink_k, sink_v = (torch.where((order == count)[:, None], x, old) for x, old in ((k, sink_k), (v, sink_v)))

        seen = torch.cat(
            [start - size + slot >= sinks, (start + slot >= sinks) & (start + slot <= count), order <= count]
        )
        scores = (q.float() * self.shape.scaling) @ torch.cat([before_k, own_k, sink_k], 2).mT + hidden(seen)
        weights = (scores - scores.amax(-1, keepdim=True)).exp() * self.window_factor.float().sigmoid()
        query = torch.cat(self.features(self.query(q)), dim=-1)
        numerator = weights @ torch.cat([before_v, own_v, sink_v], 2) + query @ mixed
        out = (numerator / (weights.sum(-1, keepdim=True) + query @ total)).to(q.dtype)
        return out, (before_k, before_v, own_k, own_v, sink_k, sink_v, mixed, total, count + 1)

    @classmethod
    def cost(cls, options: VariantOptions, length: int, shape: Shape) -> Cost:
        assert isinstance(options, WindowLinearOptions)
        linear = super().cost(options, length, Shape(shape.heads, shape.head_dim, shape.scaling))
        h, d, n = shape.heads, shape.head_dim, length
        span = (2 if shape.causal else 3) * options.window + options.sinks
        return Cost(
            flops=linear.flops + 4 * h * n * d * span,
            bytes=linear.bytes + 4 * h * n * (2 * d * span // options.window + 2 * span),
        )
