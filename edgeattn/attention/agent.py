"""Agent attention: a few pooled queries gather from all keys, and every query reads from them."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from edgeattn.attention.blocks import hidden
from edgeattn.attention.variant import Cost, Shape, Variant, VariantOptions


class AgentOptions(VariantOptions):
    agents: int = Field(32, ge=1, le=1024, description="pooled queries that stand between queries and keys")


class Agent(Variant):
    """softmax(q A^T) softmax(A k^T) v, where A are the means of the queries of `agents` equal segments.

    Only attended tokens are cut into segments, so padding on either side changes nothing; where there are fewer tokens
    than agents, each token is an agent. The paper's position biases and its depth-wise convolution are left out: they
    belong to a fixed grid of image patches. No cross-attention: a key mask does not say which queries are padding.
    """

    name = "agent"
    Options = AgentOptions
    source = "Han et al. 2023, Agent Attention (arXiv 2312.08874), equation 4"
    rotation_invariant = True
    options: AgentOptions

    def reference(self, q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor | None = None) -> Tensor:
        out = torch.zeros(*q.shape[:-1], v.shape[-1], device=q.device)
        for b in range(q.shape[0]):
            mask = torch.ones_like(q[b, 0, :, 0], dtype=torch.bool) if key_mask is None else key_mask[b]
            queries, keys, values = (x[b, :, mask].float() for x in (q, k, v))  # [H, n, D]
            n, count = queries.shape[1], self.options.agents
            segment = torch.arange(n, device=q.device) * count // max(n, 1)
            if n:
                agents = torch.stack([queries[:, segment == s].mean(1) for s in segment.unique()], dim=1)
                gathered = (agents @ keys.mT * self.shape.scaling).softmax(-1) @ values
                out[b, :, mask] = (queries @ agents.mT * self.shape.scaling).softmax(-1) @ gathered
        return out

    def forward(self, q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor | None = None) -> Tensor:
        n, count = q.shape[-2], self.options.agents
        # Which token belongs to which agent, by arithmetic, so that one graph serves every length.
        if key_mask is None:
            segment = (torch.arange(n, device=q.device) * count // n)[None]
        else:
            among = key_mask.cumsum(-1) - 1  # the token's position among the attended ones
            segment = among * count // key_mask.sum(-1, keepdim=True).clamp_min(1)
            segment = torch.where(key_mask, segment, count)
        member = (segment[:, None] == torch.arange(count, device=q.device)[:, None]).float()  # [B or 1, A, N]
        size = member.sum(-1, keepdim=True)
        pool = (member / size.clamp_min(1.0))[:, None]  # [B or 1, 1, A, N]
        agents = (pool @ q.float() * self.shape.scaling).to(q.dtype)  # [B, H, A, D]
        gather = (agents @ k.mT).float()
        if key_mask is not None:
            gather = gather + hidden(key_mask)[:, None, None]
        gathered = gather.softmax(-1) @ v.float()  # [B, H, A, Dv], summed over all keys in fp32
        read = (q @ agents.mT).float() + hidden(size > 0).mT[:, None]  # agents without a token are not read from
        return (read.softmax(-1) @ gathered).to(v.dtype)

    @classmethod
    def cost(cls, options: VariantOptions, length: int, shape: Shape) -> Cost:
        assert isinstance(options, AgentOptions)
        h, d, n, a = shape.heads, shape.head_dim, length, options.agents
        products = 2 * n * a * d * (4 + 1)  # both scores, both mixtures, and the pooling
        return Cost(flops=h * products, bytes=4 * h * (4 * n * d + 4 * n * a))
