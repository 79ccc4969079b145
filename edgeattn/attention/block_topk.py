"""Dynamic sparse attention: each block of queries chooses, by content, the blocks of keys that it sees."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import pad

from edgeattn.attention.blocks import cut, hidden, join, mix, where_seen
from edgeattn.attention.variant import Cost, Shape, Variant, VariantOptions, lowest


class BlockTopkOptions(VariantOptions):
    block: int = Field(64, ge=2, le=1024, description="tokens of a block")
    topk: int = Field(4, ge=1, le=256, description="blocks of keys that a block of queries sees beside its own")


class BlockTopk(Variant):
    """Exact softmax over the keys of the query's own block and of the `topk` blocks that suit its block best.

    A block of keys scores the product of the two blocks' mean query and mean key, plus the highest bias between them:
    a bias that hides part of a block does not keep the rest from being chosen. The choice itself has no gradient.
    Means and choice are in fp32, whatever the inputs are. Blocks are cut by position, padding included. Every sequence
    and head chooses for itself, and always the same number of blocks, so shapes are static.
    """

    name = "block_topk"
    Options = BlockTopkOptions
    source = (
        "Jiang et al. 2024, MInference (arXiv 2407.02490), block-sparse pattern; "
        "own block always seen as in Lu et al. 2025, MoBA (arXiv 2502.13189)"
    )
    biased = True
    rotation_invariant = True
    options: BlockTopkOptions

    def reference(
        self, q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor | None = None, bias: Tensor | None = None
    ) -> Tensor:
        q, k, n = q.float(), k.float(), q.shape[-2]
        keys = torch.ones(q.shape[0], n, dtype=torch.bool, device=q.device) if key_mask is None else key_mask
        block = torch.arange(n, device=q.device) // self.options.block
        count = int(block[-1]) + 1
        member = (block == torch.arange(count, device=q.device)[:, None]) & keys[:, None]  # [B, blocks, N]
        pool = (member / member.sum(-1, keepdim=True).clamp_min(1))[:, None]
        suits = (pool @ q) @ (pool @ k).mT * self.shape.scaling
        scores = q @ k.mT * self.shape.scaling
        if bias is not None:
            scores = scores + bias.float()
            size, blocks = self.options.block, range(count)
            tiles = [[bias[..., i * size :, j * size :][..., :size, :size] for j in blocks] for i in blocks]
            suits = suits + torch.stack([torch.stack([tile.amax((-1, -2)) for tile in row], -1) for row in tiles], -2)
        suits = suits.masked_fill(~member.any(-1)[:, None, None], torch.finfo(torch.float32).min)
        suits = suits.masked_fill(torch.eye(count, dtype=torch.bool, device=q.device), torch.inf)
        chosen = suits.topk(min(self.options.topk + 1, count), -1).indices
        pairs = torch.zeros_like(suits, dtype=torch.bool).scatter(-1, chosen, True)  # [B, H, blocks, blocks]
        seen = pairs[..., block, :][..., block] & keys[:, None, None]
        return scores.masked_fill(~seen, torch.finfo(torch.float32).min).softmax(-1) @ v.float()

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor | None = None, bias: Tensor | None = None
    ) -> Tensor:
        b, h, n, _ = q.shape
        size = self.options.block
        # `topk` empty blocks behind the sequence, so that a short one has enough to choose from.
        queries, keys, values = cut(q, size), cut(k, size, self.options.topk), cut(v, size, self.options.topk)
        exists = torch.ones_like(q[:, 0, :, 0], dtype=torch.bool) if key_mask is None else key_mask
        exists = cut(exists[:, None, :, None].float(), size, self.options.topk)[:, 0, :, :, 0]  # [B, blocks, size]
        if bias is not None:  # [B or 1, H or 1, blocks of queries, size, blocks, size], lowest where there is no pair
            beyond = (0, keys.shape[2] * size - n, 0, queries.shape[2] * size - n)
            bias = pad(bias, beyond, value=lowest(bias.dtype)).unflatten(3, (-1, size)).unflatten(2, (-1, size))
        # [B, H, blocks of queries, 1 + topk]
        index = self._choose(queries.detach(), keys.detach(), exists, None if bias is None else bias.detach())

        # Rows of whole blocks of one flat table: one Gather that copies long runs.
        table = keys.shape[2]
        sequence = torch.arange(b, device=q.device)[:, None, None, None]
        head = torch.arange(h, device=q.device)[:, None, None]
        rows = ((sequence * h + head) * table + index).flatten()
        keys, values = (
            x.flatten(0, 2).index_select(0, rows).unflatten(0, index.shape).flatten(3, 4) for x in (keys, values)
        )
        seen = exists.flatten(0, 1).index_select(0, (sequence * table + index).flatten()).unflatten(0, index.shape)
        visible = seen.flatten(3, 4)[..., None, :] > 0
        added = hidden(visible) if bias is None else where_seen(_of_chosen(bias, index), visible)
        return join(mix(queries, keys, values, added, self.shape.scaling))[:, :, :n]

    def _choose(self, queries: Tensor, keys: Tensor, exists: Tensor, bias: Tensor | None) -> Tensor:
        """queries, keys: [B, H, blocks, size, D] -> [B, H, blocks of queries, 1 + topk]: its own block and the best."""
        kind = torch.promote_types(queries.dtype, torch.float32)
        share = (exists / exists.sum(-1, keepdim=True).clamp_min(1.0))[:, None, :, :, None]  # [B, 1, blocks, size, 1]
        mean_query, mean_key = ((x.to(kind) * share[:, :, : x.shape[2]]).sum(3) for x in (queries, keys))
        suits = mean_query @ mean_key.mT
        if bias is not None:
            suits = suits * self.shape.scaling + bias.amax(5).amax(3)  # one axis at a time: half the time of both
        # Lower than any real one, and one that a bias hides: blocks with no key. Below these its own, which is taken in
        # any case.
        own = torch.arange(queries.shape[2], device=queries.device)[:, None]
        none = lowest(torch.float32)
        suits = torch.where((exists.sum(-1) > 0)[:, None, None], suits, 1.5 * none)
        suits = torch.where(own == torch.arange(keys.shape[2], device=keys.device), 2 * none, suits)
        best = suits.topk(self.options.topk, -1).indices
        return torch.cat([own.expand(*best.shape[:3], 1), best], -1)

    @classmethod
    def cost(cls, options: VariantOptions, length: int, shape: Shape) -> Cost:
        assert isinstance(options, BlockTopkOptions)
        h, d, n, size = shape.heads, shape.head_dim, length, options.block
        span, blocks = size * (1 + options.topk), -(-length // size)
        pairs = blocks * (blocks + options.topk)  # the one part that grows with the square, of a number of blocks
        return Cost(
            flops=h * (4 * n * d * span + 4 * n * d + 2 * pairs * d),
            # q, k, v and the result once, means read q and k again, chosen blocks are copied, scores written and read
            bytes=4 * h * (6 * n * d + 2 * n * d * span // size + 2 * n * span + 2 * pairs),
        )


def _of_chosen(bias: Tensor, index: Tensor) -> Tensor:
    """bias: [B or 1, H or 1, blocks, size, table, size], index: [B, H, blocks, k] -> [B, H, blocks, size, k * size].

    One Gather of whole rows of blocks.
    """
    sequences, heads, blocks, size, table, _ = bias.shape
    rows = torch.arange(sequences, device=bias.device)[:, None] * heads + torch.arange(heads, device=bias.device)
    rows = rows[:, :, None] * blocks + torch.arange(blocks, device=bias.device)
    rows = rows[..., None] * size + torch.arange(size, device=bias.device)
    rows = rows[..., None] * table + index[:, :, :, None]
    return bias.flatten(0, 4).index_select(0, rows.flatten()).unflatten(0, rows.shape).flatten(4, 5)
