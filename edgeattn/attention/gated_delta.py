"""Gated DeltaNet: a causal state of constant size that is decayed, corrected and written to by every token."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from edgeattn.attention.blocks import cut, later_by
from edgeattn.attention.linear import FUSED
from edgeattn.attention.lowering import allowed
from edgeattn.attention.variant import Cost, Shape, State, Variant, VariantOptions

_CHUNK = 64  # tokens; a power of two, as is the next
_LONGEST = 65536  # tokens that a graph of unknown length is right for
_EPS = 1e-6
_NEVER = 1e30  # exp of less than this below 0 is 0


class GatedDelta(Variant):
    """S_t = a_t (I - b_t k_t k_t^T) S_{t-1} + b_t k_t v_t^T, o_t = S_t^T q_t, with q and k of length 1.

    The paper takes the decay a_t and the write strength b_t from the layer's input. A converted layer's variant sees
    only q, k and v, so here both are learned maps of the token's key, one per head: a_t = exp(-exp(A) softplus(.)),
    b_t = sigmoid(.). A learned scale per head replaces the paper's output norm and gate. Padding leaves the state
    unchanged. A graph exported for any length is right up to 65536 tokens.
    """

    name = "gated_delta"
    Options = VariantOptions
    source = "Yang et al. 2024, Gated Delta Networks (arXiv 2412.06464), equation 10 and section 3.3"
    bidirectional = False
    causal = True

    def __init__(self, shape: Shape, options: VariantOptions) -> None:
        super().__init__(shape, options)
        heads = shape.heads
        self.gate_map = nn.Parameter(torch.zeros(heads, shape.head_dim, 2))  # of a key: to its decay and its strength
        # softplus(-4.6) is 0.01: at the start the state keeps a token for about a hundred tokens.
        self.gate_bias = nn.Parameter(torch.tensor([-4.6, 0.0]).repeat(heads, 1, 1))  # [H, 1, 2]
        self.log_rate = nn.Parameter(torch.zeros(heads, 1, 1))
        self.scale = nn.Parameter(torch.ones(heads, 1, 1))

    @property
    def operators(self) -> frozenset[str]:
        return frozenset({FUSED})

    def gates(self, k: Tensor, key_mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """k: [B, H, N, D], not normalised -> log of the decay and strength, each [B, H, N, 1], fp32."""
        raw = k @ self.gate_map.float() + self.gate_bias.float()
        decay = -self.log_rate.float().exp() * softplus(raw[..., :1])
        strength = raw[..., 1:].sigmoid()
        if key_mask is not None:
            real = key_mask[:, None, :, None].float()
            decay, strength = decay * real, strength * real
        return decay, strength

    def reference(self, q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor | None = None) -> Tensor:
        q, k, v = q.float(), k.float(), v.float()
        decay, strength = self.gates(k, key_mask)
        q, k = _normalized(q), _normalized(k)
        state = v.new_zeros(*q.shape[:2], q.shape[-1], v.shape[-1])
        out = []
        for t in range(q.shape[-2]):
            key, value = k[:, :, t, :, None], v[:, :, t, None, :]
            state = decay[:, :, t, :, None].exp() * state
            state = state + key @ (strength[:, :, t, :, None] * (value - key.mT @ state))
            out.append((q[:, :, t, None, :] @ state)[:, :, 0])
        return torch.stack(out, dim=-2) * self.scale.float()

    def forward(self, q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor | None = None) -> Tensor:
        dtype, n = v.dtype, q.shape[2]
        q, k, v = q.float(), k.float(), v.float()
        decay, strength = self.gates(k, key_mask)
        if allowed(FUSED):
            return (_fused(_normalized(q), _normalized(k), v, decay, strength) * self.scale.float()).to(dtype)
        # The last chunk is padded with zeros, which neither decay nor write.
        q, k, v, decay, strength = (cut(x, _CHUNK, length=n) for x in (q, k, v, decay, strength))
        out = self._mix(_normalized(q), _normalized(k), v, decay, strength)
        return (out.flatten(2, 3)[:, :, :n] * self.scale.float()).to(dtype)

    def _mix(self, q: Tensor, k: Tensor, v: Tensor, decay: Tensor, strength: Tensor) -> Tensor:
        """Chunks in parallel; within one, the writes of its tokens solve a triangular system (the WY form).

        q, k: [B, H, chunks, C, D]   v: [B, H, chunks, C, Dv]   decay, strength: [B, H, chunks, C, 1]
        """
        device = q.device
        lower = torch.ones(_CHUNK, _CHUNK, device=device).tril()
        since = (lower * decay.mT).sum(-1, keepdim=True)  # log of the decay from the chunk's start, own token included
        # exp of a difference: a quotient of decays would divide by one that underflowed.
        between = (since - since.mT + (lower - 1.0) * _NEVER).exp()
        faded, weighted = since.exp(), strength * k
        # A token writes only what the state does not hold: written - read @ S, for the state S before the chunk.
        solve = _unit_lower_inverse(weighted @ k.mT * between)
        written, read = solve @ (strength * v), solve @ (faded * weighted)
        kept = ((since[..., -1:, :] - since).exp() * k).mT  # each key, decayed to the chunk's end
        passed = faded[..., -1:, :] * torch.eye(q.shape[-1], device=device) - kept @ read
        state = _states_before(passed, kept @ written)
        scores = q @ k.mT * between
        return (faded * q - scores @ read) @ state + scores @ written

    def initial_state(self, batch: int, value_dim: int) -> State:
        return (torch.zeros(batch, self.shape.heads, self.shape.head_dim, value_dim),)

    def step(self, q: Tensor, k: Tensor, v: Tensor, state: State) -> tuple[Tensor, State]:
        decay, strength = self.gates(k.float(), None)
        query, key = _normalized(q.float()), _normalized(k.float())
        kept = decay.exp() * state[0]
        kept = kept + key.mT @ (strength * (v.float() - key @ kept))
        return (query @ kept * self.scale.float()).to(v.dtype), (kept,)

    @classmethod
    def cost(cls, options: VariantOptions, length: int, shape: Shape) -> Cost:
        h, d, n, c = shape.heads, shape.head_dim, length, _CHUNK
        # Scores and their use, states and their use, the triangular system.
        products = 6 * c * d + 3 * d * d + 2 * c * c * 5
        scan = 2 * d * d * d // c * int(math.log2(_LONGEST // c))
        return Cost(flops=2 * h * n * (products + scan), bytes=4 * h * n * (12 * d + 8 * c + 6 * d * d // c))


def _normalized(x: Tensor) -> Tensor:
    """x: [..., D] -> scaled to length 1; zeros stay zeros."""
    return x * ((x * x).sum(-1, keepdim=True) + _EPS).rsqrt()


def _unit_lower_inverse(a: Tensor) -> Tensor:
    """(I + the strictly lower part of a)^-1, a: [..., C, C], C a power of two.

    By blocks, [[X, 0], [L, Y]]^-1 = [[X^-1, 0], [-Y^-1 L X^-1, Y^-1]]. As stable as forward substitution, unlike the
    series I - A + A^2 - ..., whose terms grow where keys are alike.
    """
    size = a.shape[-1]
    index = torch.arange(size, device=a.device)

    def corner(block: int) -> Tensor:  # where the blocks L of that size are
        pair, second = index // (2 * block), index // block % 2 == 1
        return (pair[:, None] == pair) & second[:, None] & ~second

    inverse = torch.eye(size, device=a.device) - a * corner(1)
    block = 2
    while block < size:
        inverse = inverse - inverse @ (a * corner(block)) @ inverse
        block *= 2
    return inverse


def _states_before(passed: Tensor, written: Tensor) -> Tensor:
    """The state before each chunk of S' = passed S + written, from S = 0.

    passed: [B, H, T, D, D]   written: [B, H, T, D, Dv]   returns [B, H, T, D, Dv]
    A loop over chunks would be a loop in the graph, so this is a prefix scan in log2 rounds (Hillis and Steele 1986).
    Before the first chunk everything is 0.
    """
    chunks = passed.shape[2]
    shift, most = 1, chunks if isinstance(chunks, int) else _LONGEST // _CHUNK
    while shift < most:
        written = written + passed @ later_by(written, shift)
        passed = passed @ later_by(passed, shift)
        shift *= 2
    return later_by(written, 1)


def _fused(q: Tensor, k: Tensor, v: Tensor, decay: Tensor, strength: Tensor) -> Tensor:
    """ONNX Runtime's LinearAttention. Shapes as in `reference`, decay and strength [B, H, N, 1]."""
    b, h, n, dv = v.shape
    query, key, value, rate, share = (x.transpose(1, 2).flatten(2) for x in (q, k, v, decay, strength))
    out, _ = torch.onnx.ops.symbolic_multi_out(
        FUSED,
        [query, key, value, None, rate, share],
        {"update_rule": "gated_delta", "q_num_heads": h, "kv_num_heads": h, "scale": 1.0},
        dtypes=(torch.float32, torch.float32),
        shapes=((b, n, h * dv), (b, h, q.shape[-1], dv)),
        version=1,
    )
    return out.view(b, n, h, dv).transpose(1, 2)
