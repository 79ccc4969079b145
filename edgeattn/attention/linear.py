"""Linear attention: keys and queries as positive features, so that no N x N map is ever made.

    out_i = phi(q_i) S / phi(q_i) z,   S = sum_j phi(k_j)^T v_j,   z = sum_j phi(k_j)^T

over all keys j, or over those up to i in a causal layer (Katharopoulos et al. 2020, Transformers are RNNs,
arXiv 2006.16236, equations 4 to 12). A variant of this family is only a feature map.

Features come in parts, which are mixed one by one and added: joining them first would copy every feature again, which
costs ONNX Runtime 10 to 25 % of the time. For the same reason a mask is applied to v and not to the keys.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn.functional import pad

from edgeattn.attention.blocks import cut
from edgeattn.attention.lowering import allowed
from edgeattn.attention.variant import State, Variant

FUSED = "com.microsoft::LinearAttention"
CHUNK = 64  # causal: of 32, 64 and 128 the fastest in ONNX Runtime from 512 to 16384 tokens

# Makes 0 / 0 = 0, for a query that shares no feature with any key or sees only padding. Every other sum is larger.
_EPS = 1e-20

Pairs = Iterable[tuple[Tensor, Tensor]]  # features of queries and of keys, part by part


class Linear(Variant):
    """Attention by the features of a subclass. It uses no positions, so left padding changes nothing."""

    causal = True
    cross = True
    weighs_keys = True
    size: int  # features of a token, all parts together

    @property
    def operators(self) -> frozenset[str]:
        return frozenset({FUSED}) if self.shape.causal else frozenset()

    def query(self, x: Tensor) -> Tensor:
        """x: [B, H, N, D] -> the input of `features` for queries, [B, H, N, P]."""
        return x

    def key(self, x: Tensor) -> Tensor:
        """x: [B, H, N, D] -> the input of `features` for keys, [B, H, N, P]."""
        return x

    @abstractmethod
    def features(self, x: Tensor) -> tuple[Tensor, ...]:
        """x: [..., P] -> the parts of the features, each [..., F], fp32, none below 0."""

    def reference(
        self, q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor | None = None, key_weight: Tensor | None = None
    ) -> Tensor:
        query = torch.cat(self.features(self.query(q.float())), dim=-1)
        key = torch.cat(self.features(self.key(k.float())), dim=-1)
        scores = query @ key.mT
        for factor in (key_mask, key_weight):
            if factor is not None:
                scores = scores * factor[:, None, None, :]
        if self.shape.causal:
            scores = scores.tril()
        return scores @ v.float() / scores.sum(-1, keepdim=True).clamp_min(_EPS)

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor | None = None, key_weight: Tensor | None = None
    ) -> Tensor:
        q, k = self.query(q), self.key(k)
        weight = _weight(key_mask, key_weight, v.dtype)
        if not self.shape.causal:
            return mix(self._pairs(q, k), v, weight).to(v.dtype)
        value = pad(v, (0, 1), value=1.0)  # a last column whose sums are the divisor
        if weight is not None:
            value = value * weight
        value = promoted(value)
        if allowed(FUSED):
            out = _fused(torch.cat(self.features(q), -1), torch.cat(self.features(k), -1), value)
        else:
            # Cut before the features are made, while there are fewer tensors: padding the end copies each of them.
            n = q.shape[-2]
            q, k, value = (cut(x, CHUNK, length=n) for x in (q, k, value))
            out = mix_chunks(self._pairs(q, k), value).flatten(2, 3)[:, :, :n]
        return (out[..., :-1] / out[..., -1:].clamp_min(_EPS)).to(v.dtype)

    def _pairs(self, q: Tensor, k: Tensor) -> Pairs:
        return zip(self.features(q), self.features(k), strict=True)

    def initial_state(self, batch: int, value_dim: int) -> State:
        if not self.causal:
            return super().initial_state(batch, value_dim)
        shape = batch, self.shape.heads, self.size
        return torch.zeros(*shape, value_dim), torch.zeros(*shape, 1)

    def step(self, q: Tensor, k: Tensor, v: Tensor, state: State) -> tuple[Tensor, State]:
        """State: S [B, H, F, Dv] and z [B, H, F, 1], sums over the tokens so far."""
        if not self.causal:
            return super().step(q, k, v, state)
        query = torch.cat(self.features(self.query(q)), dim=-1)
        key = torch.cat(self.features(self.key(k)), dim=-1).mT
        mixed, total = state[0] + key @ promoted(v), state[1] + key
        return (query @ mixed / (query @ total).clamp_min(_EPS)).to(v.dtype), (mixed, total)


def mix(pairs: Pairs, v: Tensor, weight: Tensor | None) -> Tensor:
    """Bidirectional. pairs: [B, H, N, F] and [B, H, M, F]   v: [B, H, M, Dv]   weight: [B, 1, M, 1]

    returns [B, H, N, Dv], fp32
    """
    value = promoted(v)
    # Not ones_like of a slice: a graph would copy the slice to get its shape.
    ones = value.new_ones((*value.shape[:-1], 1)) if weight is None else promoted(weight)
    # Both reductions run over M, in fp32 and as means: sums overflow fp16 from a few thousand tokens. The weights carry
    # the mean's factor, so that no state is multiplied again.
    share = ones / v.shape[-2]
    value = value * share
    numerator = denominator = torch.zeros((), device=v.device)
    for query, key in pairs:
        numerator = numerator + query @ (key.mT @ value)  # [B, H, F, Dv] between the products
        denominator = denominator + query @ (key.mT @ share)  # [B, H, F, 1]
    return numerator / denominator.clamp_min(_EPS)


def mix_chunks(pairs: Pairs, value: Tensor) -> Tensor:
    """Causal, not normalised: the map within each chunk, and a state for everything before it.

    The chunkwise parallel form of Yang et al. 2024, Gated Linear Attention (arXiv 2312.06635), section 2.2.
    pairs: [B, H, chunks, CHUNK, F] twice   value: [B, H, chunks, CHUNK, X], fp32   returns the shape of value
    """
    size = value.shape[-2]
    scores = earlier = torch.zeros((), device=value.device)
    for query, key in pairs:
        scores = scores + query @ key.mT
        earlier = earlier + query @ prefix_states(key.mT @ value)
    return earlier + scores * torch.ones(size, size, device=value.device).tril() @ value


def prefix_states(states: Tensor) -> Tensor:
    """states: [B, H, chunks, F, X], one per chunk -> for each chunk the sum of those before it, 0 for the first.

    A CumSum, which TensorRT's parser has had since 2021, is not slower in ONNX Runtime than a product with a triangular
    matrix, and does not grow with the square of the number of chunks. The states are shifted before the sum: adding a
    chunk and subtracting it again would let the future in through rounding.
    """
    return pad(states.flatten(3)[:, :, :-1].cumsum(2), (0, 0, 1, 0)).unflatten(3, states.shape[3:])


def promoted(x: Tensor) -> Tensor:
    """x in fp32, or in float64 where it already is, as in gradient checks."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _weight(key_mask: Tensor | None, key_weight: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """The weight of each key, [B, 1, N, 1]; None where all are 1."""
    if key_mask is None or key_weight is None:
        factor = key_mask if key_weight is None else key_weight
        return None if factor is None else factor[:, None, :, None].to(dtype)
    return (key_mask * key_weight)[:, None, :, None].to(dtype)


def _fused(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """ONNX Runtime's LinearAttention: computes `mix_chunks`, on whole sequences [B, H, N, .]."""
    b, h, n, f = query.shape
    width = value.shape[-1]
    out, _ = torch.onnx.ops.symbolic_multi_out(
        FUSED,
        [x.transpose(1, 2).flatten(2) for x in (query, key, value)],
        {"update_rule": "linear", "q_num_heads": h, "kv_num_heads": h, "scale": 1.0},
        dtypes=(value.dtype, value.dtype),
        shapes=((b, n, h * width), (b, h, f, width)),
        version=1,
    )
    return out.view(b, n, h, width).transpose(1, 2)


def mixing_flops(length: int, features: int, head_dim: int, causal: bool) -> int:
    """FLOPs of one head, without those of the features."""
    states = 2 * 2 * length * features * (head_dim + 1)
    if not causal:
        return states
    return states + 2 * length * CHUNK * (features + head_dim + 1) + length * features * (head_dim + 1) // CHUNK


def mixing_bytes(length: int, features: int, head_dim: int, causal: bool) -> int:
    """Bytes of one head, fp32: q, k, v and the result, features written and read once, maps and states of chunks."""
    numbers = 4 * length * head_dim + 4 * length * features
    if causal:
        numbers += 4 * length * CHUNK + 4 * length * features * (head_dim + 1) // CHUNK
    return 4 * numbers
