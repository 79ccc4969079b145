"""Token merging: between layers the most similar tokens are merged, so that later layers run on fewer tokens.

Shapes depend on the length only: r pairs per layer, whatever the tokens are. A padded row with fewer pairs drops
padding instead, so that it merges the tokens that it would merge alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import pad

from edgeattn.attention.variant import VariantOptions

_EPS = 1e-6  # the least length that a key is divided by
_NEVER = -9.0  # below any cosine


class TokenMergingOptions(VariantOptions):
    r: int = Field(ge=1, le=65536, description="tokens merged away after this layer, while r + protect are left")
    protect: int = Field(1, ge=0, le=128, description="leading tokens, such as [CLS], that are never merged")
    proportional: bool = Field(True, description="a merged token counts in later attention once for each token in it")


@dataclass(frozen=True)
class Tokens:
    """The M groups that N tokens have been merged into, those of attended tokens first, in their order."""

    representative: Tensor  # [B, M] a token of each group
    group: Tensor  # [B, N] the group of each token; any group for padding
    size: Tensor  # [B, M] fp32, tokens in each group
    attended: Tensor | None  # [B, 1] attended tokens among the N; None: all are
    least: int  # groups that merging always leaves
    removed: int = 0  # groups removed by all merges so far, where there were enough

    @property
    def count(self) -> Tensor | None:
        """[B, 1] groups of attended tokens; None: all are."""
        if self.attended is None or not self.removed:
            return self.attended
        return torch.maximum(self.attended - self.removed, self.attended.clamp_max(self.least))

    @property
    def length(self) -> int:
        """M, from N: from the last M, the formulas of sizes in a graph would double with each merge."""
        n = self.group.shape[1]
        left: int = torch.sym_max(n - self.removed, torch.sym_min(n, self.least)) if self.removed else n
        return left

    @property
    def key_mask(self) -> Tensor | None:
        """[B, M] bool, False where the group is padding."""
        count = self.count
        return None if count is None else torch.arange(self.length, device=count.device) < count

    def restore(self, x: Tensor) -> Tensor:
        """[B, M, C] -> [B, N, C]: every token gets the row of its group."""
        return gather(x, self.group)


@dataclass(frozen=True)
class Merge:
    """Which L = M - R of M groups stay, and into which of them the other R are merged."""

    keep: Tensor  # [B, L] those that stay, attended ones first, in their order
    source: Tensor  # [B, R] those that are merged away, the most similar first
    target: Tensor  # [B, R] the group that each of them is merged into
    merged: Tensor | None  # [B, R] whether it is; with fewer pairs padding goes instead. None: all are
    place: Tensor  # [B, M] position of each among those that stay


class TokenMerging:
    """Bipartite soft matching: each of tokens 0, 2, 4, ... is paired with the most similar of tokens 1, 3, 5, ..., by
    the cosine of their keys averaged over heads. The r most similar pairs are merged, by means weighted with size.

    Positions are counted among the attended tokens, so that padding on either side changes nothing.
    """

    name: ClassVar[str] = "token_merging"
    Options: ClassVar[type[TokenMergingOptions]] = TokenMergingOptions
    source: ClassVar[str] = "Bolya et al. 2023, Token Merging: Your ViT But Faster (arXiv 2210.09461), section 3"

    def __init__(self, options: TokenMergingOptions) -> None:
        self.options = options

    def reduce(self, x: Tensor, metric: Tensor, tokens: Tokens) -> tuple[Tensor, Tokens]:
        """x: [B, M, C], metric: [B, M, D], of a layer that ran on `tokens` -> x and tokens after one more merge."""
        after = replace(tokens, removed=tokens.removed + self.options.r)
        pairs = match(metric, self.options.protect, after.length, tokens.count, after.count)
        return merge(x, after, pairs)


def reference(x: Tensor, metric: Tensor, size: Tensor, protect: int, left: int) -> tuple[Tensor, Tensor, list[int]]:
    """One sequence without padding, pair by pair: the definition of what `match` and `merge` compute.

    x: [M, C], metric: [M, D], size: [M] -> [left, C], [left], and for each of the M its position among those left.
    """
    m, unit, pairs = len(x), metric.float(), []
    unit = unit / unit.norm(dim=-1, keepdim=True).clamp_min(_EPS)
    for even in range(0, m, 2):
        odd = [(float(unit[even] @ unit[odd]), odd) for odd in range(1, m, 2) if odd >= protect]
        if even >= protect and odd:
            similarity, target = max(odd, key=lambda pair: pair[0])
            pairs.append((similarity, even, target))
    pairs.sort(key=lambda pair: -pair[0])
    into = {even: target for _, even, target in pairs[: m - left]}
    keep = [token for token in range(m) if token not in into]
    place = [keep.index(into.get(token, token)) for token in range(m)]
    parts = [[token for token in range(m) if place[token] == group] for group in range(left)]
    means = [(x[part] * size[part, None]).sum(0) / size[part].sum() for part in parts]
    return torch.stack(means), torch.stack([size[part].sum() for part in parts]), place


def first(x: Tensor, metric: Tensor, key_mask: Tensor | None, least: int) -> tuple[Tensor, Tensor, Tokens]:
    """The groups before the first merge: one per token, attended ones first.

    x: [B, N, C], metric: [B, N, D], key_mask: [B, N] bool. Returns x and metric in that order, and the groups.
    """
    b, n, _ = x.shape
    token = torch.arange(n, device=x.device).expand(b, n)
    size = torch.ones(b, n, dtype=torch.float32, device=x.device)
    if key_mask is None:
        return x, metric, Tokens(token, token, size, None, least)
    order = torch.where(key_mask, token, token + n).float().argsort(-1)  # TensorRT 8 sorts no whole numbers
    group = (key_mask.cumsum(-1) - 1).clamp_min(0)
    tokens = Tokens(order, group, size, key_mask.sum(-1, keepdim=True), least)
    return gather(x, order), gather(metric, order), tokens


@torch.no_grad()
def match(metric: Tensor, protect: int, left: int, count: Tensor | None = None, rest: Tensor | None = None) -> Merge:
    """The M - left most similar pairs, at most half of the unprotected.

    metric: [B, M, D], to compare by   count: [B, 1], how many of the M are attended, which come first   rest: how
    many of them to leave
    """
    b, m, _ = metric.shape
    token = torch.arange(m, device=metric.device)
    real = m if count is None else count

    unit = metric.float()
    unit = unit / unit.norm(dim=-1, keepdim=True).clamp_min(_EPS)
    even, odd = token[::2], token[::2] + 1
    closed = torch.where((odd >= protect) & (odd < real), 0.0, _NEVER)
    scores = unit[:, ::2] @ pad(unit, (0, 0, 0, 1))[:, 1::2].mT  # as many odd ones as even, and at least one
    best, choice = (scores + closed.unsqueeze(-2)).max(-1)  # [B, M / 2]
    best = torch.where((even >= protect) & (even < real), best, _NEVER)
    source = best.topk(m - left).indices
    target = choice.gather(1, source) * 2 + 1
    source = source * 2

    merged = None
    into = target
    if count is not None and rest is not None:  # a shorter row merges as many pairs as it would alone
        merged = torch.arange(m - left, device=metric.device) < count - rest
        into = torch.where(merged, target, source)
    into = token.expand(b, m).scatter(1, source, into)  # [B, M]
    stays = (into == token) & (token < real)
    keep = torch.where(stays, token, token + m).float().topk(left, largest=False).indices
    place = (stays.cumsum(-1) - 1).clamp_min(0).gather(1, into)
    return Merge(keep, source, target, merged, place)


def merge(x: Tensor, tokens: Tokens, pairs: Merge) -> tuple[Tensor, Tokens]:
    """x: [B, M, C], one row per group of `tokens` -> [B, L, C], means weighted with the groups' sizes."""
    # unsqueeze, since a trace turns every colon of [:, None] into a slice.
    joins = pairs.keep.unsqueeze(2) == pairs.target.unsqueeze(1)  # [B, L, R]
    if pairs.merged is not None:
        joins = joins & pairs.merged.unsqueeze(1)
    # Shares rather than sums, for fp16, and a product with few columns, several times faster than a scatter.
    share = joins * tokens.size.gather(1, pairs.source).unsqueeze(1)
    own = tokens.size.gather(1, pairs.keep)
    size = own + share.sum(-1)
    out = gather(x, pairs.keep) * (own / size).unsqueeze(-1).to(x.dtype)
    out = out + (share / size.unsqueeze(-1)).to(x.dtype) @ gather(x, pairs.source)
    representative = tokens.representative.gather(1, pairs.keep)
    return out, replace(tokens, representative=representative, group=pairs.place.gather(1, tokens.group), size=size)


def gather(x: Tensor, index: Tensor) -> Tensor:
    """Rows of x [B or 1, N, ...] at index [B, M]: [B, M, ...]."""
    return x[torch.arange(x.shape[0], device=x.device).unsqueeze(1), index]
