"""Cutting a sequence into blocks of queries, each with the keys around it, at any length that a graph is run with.

No function branches on a length, so one traced graph serves all of them. Blocks have positions outside the sequence:
there `take` gives some token's row and `attended` is False, so every caller needs both.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from edgeattn.attention.variant import lowest


def cut(x: Tensor, size: int, more: int = 0, *, length: int | None = None) -> Tensor:
    """[B, H, N, X] -> [B, H, blocks + more, size, X], with zeros beyond the end.

    length: N of another tensor. The exporter takes the length of each input for a number of its own, so tensors that
    come from several inputs are cut by the length of one of them.
    """
    blocks = ((x.shape[2] if length is None else length) + size - 1) // size + more
    return pad(x, (0, 0, 0, blocks * size - x.shape[2])).unflatten(2, (blocks, size))


def join(x: Tensor, spacing: int = 1) -> Tensor:
    """[B, H, blocks, size, X] -> [B, H, blocks * size, X]: puts the rows of the blocks of `around` back in order."""
    if spacing > 1:
        x = x.unflatten(2, (spacing, -1)).flatten(3, 4).transpose(2, 3)
    return x.flatten(2, 3)


def around(length: int, size: int, before: int, after: int, device: torch.device, spacing: int = 1) -> Tensor:
    """[blocks, before + size + after] int64: the positions of each block and around it.

    Positions below 0 and from `length` on are no tokens.
    spacing: the distance between neighbours; of that many interleaved sequences, cut one after the other.
    """
    blocks = (length + size * spacing - 1) // (size * spacing)
    start = torch.arange(blocks, device=device) * size - before
    inside = start[:, None] + torch.arange(before + size + after, device=device)
    if spacing == 1:
        return inside
    return (inside * spacing + torch.arange(spacing, device=device)[:, None, None]).flatten(0, 1)


def take(x: Tensor, index: Tensor) -> Tensor:
    """x: [B, H, N, X], index: [blocks, M] -> [B, H, blocks, M, X]; some token's row outside the sequence.

    One Gather of whole rows: half the copies of slicing the neighbours out and joining them.
    """
    return x.index_select(2, _inside(index, x.shape[2])).unflatten(2, index.shape)


def attended(key_mask: Tensor | None, index: Tensor, length: int) -> Tensor:
    """index: [blocks, M] -> [B or 1, blocks, M] bool: whether there is a token, and it is attended to."""
    exists = ((index >= 0) & (index < length))[None]
    if key_mask is None:
        return exists
    return exists & key_mask.index_select(1, _inside(index, length)).unflatten(1, index.shape)


def take_pairs(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """x: [B, H, N, M], rows: [blocks, n], columns: [blocks, m] -> [B, H, blocks, n, m].

    As in `take`, some pair's entry where a row or a column is outside the sequence.
    """
    n, m = x.shape[2:]
    pairs = rows.clamp(min=0).clamp(max=n - 1)[:, :, None] * m + columns.clamp(min=0).clamp(max=m - 1)[:, None]
    return x.flatten(2).index_select(2, pairs.flatten()).unflatten(2, pairs.shape)


def take_band(x: Tensor, own: Tensor, before: int, after: int) -> Tensor:
    """`take_pairs` of rows own: [blocks, size], and of columns from `before` to `after` around each block.

    x: [B, H, N, M] -> [B, H, blocks, size, before + size + after]
    Gathers whole blocks of columns, of which a constant slice remains: one Gather of single entries takes ONNX Runtime
    longer than dense attention does.
    """
    (blocks, size), (n, m) = own.shape, x.shape[2:]
    left, right = -(-before // size), -(-after // size)
    count = (m + size - 1) // size
    chunk = torch.arange(blocks, device=x.device)[:, None] + torch.arange(-left, right + 1, device=x.device)
    rows = own.clamp(max=n - 1)[:, :, None] * count + chunk.clamp(min=0).clamp(max=count - 1)[:, None]
    chunks = pad(x, (0, count * size - m)).unflatten(3, (count, size)).flatten(2, 3)
    near = chunks.index_select(2, rows.flatten()).unflatten(2, rows.shape).flatten(4, 5)
    return near.narrow(4, left * size - before, before + size + after)


def _inside(index: Tensor, length: int) -> Tensor:
    return index.flatten().clamp(min=0).clamp(max=length - 1)


def band(size: int, before: int, after: int, device: torch.device) -> Tensor:
    """[size, before + size + after] bool: which keys around a block lie from `before` to `after` of each query."""
    query = torch.arange(size, device=device)[:, None]
    key = torch.arange(before + size + after, device=device)
    return (key >= query) & (key <= query + before + after)


def hidden(seen: Tensor) -> Tensor:
    """The term that keeps scores which are not `seen` out of a softmax, fp32. Two of them may be added."""
    return torch.where(seen, 0.0, lowest(torch.float32))


def where_seen(bias: Tensor, seen: Tensor) -> Tensor:
    """The bias where a key is `seen`, and elsewhere less than any bias, fp32: for `mix`.

    Twice `lowest`, because a bias may hide keys too: a row that sees only such keys must not see others through a tie.
    """
    return torch.where(seen, bias.to(torch.promote_types(bias.dtype, torch.float32)), 2 * lowest(torch.float32))


def first_attended(key_mask: Tensor | None, length: int, device: torch.device) -> Tensor:
    """[B or 1, 1] int64: the position of the first attended token of each sequence; N where there is none."""
    if key_mask is None:
        return torch.zeros(1, 1, dtype=torch.int64, device=device)
    positions = torch.arange(length, device=device)
    return torch.where(key_mask, positions, length).amin(1, keepdim=True)


def pick(x: Tensor, positions: Tensor) -> Tensor:
    """x: [B, H, N, X], positions: [B or 1, g] -> [B, H, g, X]; the last token's row for positions beyond the end."""
    b, h, n, width = x.shape
    rows = positions.clamp(max=n - 1)[:, None, :, None]
    return x.gather(2, rows.expand(b, h, positions.shape[1], width))


def pick_pairs(x: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Rows [B, H, g, N] and columns [B, H, N, g] of x: [B or 1, H, N, N] at positions: [B or 1, g].

    As `pick`, but by one index: neither is x expanded to the batch nor transposed, which would copy all of it.
    """
    batch, heads, n, _ = x.shape
    start = torch.arange(batch, device=x.device)[:, None] * heads + torch.arange(heads, device=x.device)
    start, place = start[:, :, None] * n, positions.clamp(max=n - 1)[:, None]
    rows = start + place
    columns = (start + torch.arange(n, device=x.device))[..., None] * n + place[:, :, None]
    return (
        x.flatten(0, 2).index_select(0, rows.flatten()).unflatten(0, rows.shape),
        x.flatten().index_select(0, columns.flatten()).unflatten(0, columns.shape),
    )


def leading(key_mask: Tensor | None, length: int, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The `count` positions from the first attended token on, and which of them are attended, each [B or 1, count].

    Counted from there and not from 0, so that padding on the left changes nothing. Positions may lie beyond the end.
    """
    positions = first_attended(key_mask, length, device) + torch.arange(count, device=device)
    exists = positions < length
    if key_mask is not None:
        exists = exists & key_mask.gather(1, positions.clamp(max=length - 1))
    return positions, exists


def mix(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scaling: float) -> Tensor:
    """softmax(scaling q k^T + bias) v over the last two axes, block by block, with the softmax in fp32.

    q: [..., n, D]   k: [..., m, D]   v: [..., m, Dv]   bias: [..., n or 1, m]   returns [..., n, Dv]
    """
    scores = (q * scaling) @ k.mT  # next to the product, where ONNX Runtime fuses the factor
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    weights = (scores if bias is None else scores + bias).softmax(-1)
    return weights.to(v.dtype) @ v


def see_all(
    q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor | None, scaling: float, bias: Tensor | None = None
) -> Tensor:
    """Dense attention of a few queries [B, H, g, D] to all keys, bias: [B or 1, H or 1, g, N]. [B, H, g, Dv]"""
    if key_mask is not None:
        seen = key_mask[:, None, None]
        bias = hidden(seen) if bias is None else where_seen(bias, seen)
    return mix(q, k, v, bias, scaling)


def later_by(x: Tensor, by: int) -> Tensor:
    """[B, H, blocks, ...] -> the same, each block with that of `by` blocks before it, 0 where there is none."""
    index = torch.arange(x.shape[2], device=x.device)  # a Gather, since a slice has a length of its own in a trace
    exists = (index >= by).reshape(-1, *[1] * (x.ndim - 3))
    return x.index_select(2, (index - by).clamp(min=0)) * exists
