"""Gated DeltaNet: a causal state of constant size that is decayed, corrected and written to by every token."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, softplus

from edgeattn.attention.blocks import cut, later_by
from edgeattn.attention.linear import FUSED
from edgeattn.attention.lowering import allowed
from edgeattn.attention.variant import Cost, Shape, State, Variant, VariantOptions

_CHUNK = 64  # tokens
_BLOCK = 16  # tokens
_LONGEST = 65536  # tokens, where the length is not known while a graph is made
_GROUP = 8  # chunks that pass the state on as one
_EPS = 1e-6
_NEVER = 1e30  # exp of less than this below 0 is 0


class GatedDelta(Variant):
    """S_t = a_t (I - b_t k_t k_t^T) S_{t-1} + b_t k_t v_t^T, o_t = S_t^T q_t, with q and k of length 1.

    The paper takes the decay a_t and the write strength b_t from the layer's input. A converted layer's variant sees
    q, k and v alone, so here both are learned maps of the token's key, one a head: a_t = exp(-exp(A) softplus(.)),
    b_t = sigmoid(.). A learned scale a head stands in for the paper's output norm and gate. Padding leaves the state
    as it is.
    """

    name = "gated_delta"
    Options = VariantOptions
    source = "Yang et al. 2024, Gated Delta Networks (arXiv 2412.06464), equation 10 and section 3.3"
    bidirectional = False
    causal = True
    operators = frozenset({FUSED})

    def __init__(self, shape: Shape, options: VariantOptions) -> None:
        super().__init__(shape, options)
        heads = shape.heads
        self.gate_map = nn.Parameter(torch.zeros(heads, shape.head_dim, 2))  # of a key: to its decay and its strength
        # softplus(-4.6) is 0.01: at the start a token's trace lasts about a hundred tokens.
        self.gate_bias = nn.Parameter(torch.tensor([-4.6, 0.0]).repeat(heads, 1, 1))  # [H, 1, 2]
        self.log_rate = nn.Parameter(torch.zeros(heads, 1, 1))
        self.scale = nn.Parameter(torch.ones(heads, 1, 1))

    def gates(self, k: Tensor, key_mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """k: [B, H, N, D], as it came -> log of the decay and strength, each [B, H, N, 1], fp32."""
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
        # What pads the last chunk is zeros, which neither decay nor write.
        q, k, v, decay, strength = (cut(x, _CHUNK, length=n) for x in (q, k, v, decay, strength))
        out = self._mix(_normalized(q), _normalized(k), v, decay, strength)
        return (out.flatten(2, 3)[:, :, :n] * self.scale.float()).to(dtype)

    def _mix(self, q: Tensor, k: Tensor, v: Tensor, decay: Tensor, strength: Tensor) -> Tensor:
        """Chunks in parallel: within one, what its tokens write is a triangular system (the WY form).

        q, k: [B, H, chunks, C, D]   v: [B, H, chunks, C, Dv]   decay, strength: [B, H, chunks, C, 1]
        """
        device = q.device
        lower = torch.ones(_CHUNK, _CHUNK, device=device).tril()
        since = (decay.squeeze(-1) @ lower.mT)[..., None]  # log of the decay from the chunk's start, own token included
        # exp of a difference: a quotient of decays would divide by one that underflowed.
        between = (since - since.mT + (lower - 1.0) * _NEVER).exp()
        faded, weighted = since.exp(), strength * k
        # A token writes what is not there already: written - read @ S, for the state S before the chunk.
        solve = _unit_lower_inverse(weighted @ k.mT * between)
        written, read = solve @ (strength * v), solve @ (faded * weighted)
        kept = ((since[..., -1:, :] - since).exp() * k).mT  # what of each key is left at the chunk's end
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
        (next_state,) = (kept + key.mT @ (strength * (v.float() - key @ kept)),)
        return (query @ next_state * self.scale.float()).to(v.dtype), (next_state,)

    @classmethod
    def cost(cls, options: VariantOptions, length: int, shape: Shape) -> Cost:
        h, d, n, c = shape.heads, shape.head_dim, length, _CHUNK
        products = 2 * c * d + 2 * c * d + c * 2 * d + 4 * d * d  # scores, their use, the system, states and queries
        scan = 3 * d * d * d // c
        return Cost(flops=2 * h * n * (products + scan), bytes=4 * h * n * (12 * d + 8 * c + 6 * d * d // c))


def _normalized(x: Tensor) -> Tensor:
    """x: [..., D] -> of length 1; zeros stay zeros."""
    return x * ((x * x).sum(-1, keepdim=True) + _EPS).rsqrt()


def _unit_lower_inverse(a: Tensor) -> Tensor:
    """(I + the strictly lower part of a)^-1, a: [..., C, C], C a power of two.

    By blocks, [[X, 0], [L, Y]]^-1 = [[X^-1, 0], [-Y^-1 L X^-1, Y^-1]]. As stable as forward substitution, unlike the
    series I - A + A^2 - ..., whose terms grow where keys are alike.
    """
    size, half = a.shape[-1], a.shape[-1] // 2
    if size > _BLOCK:
        own = torch.stack([a[..., :half, :half], a[..., half:, half:]], dim=-3)
        first, second = _unit_lower_inverse(own).unbind(-3)
        corner = -(second @ a[..., half:, :half] @ first)
        return torch.cat([pad(first, (0, half)), torch.cat([corner, second], dim=-1)], dim=-2)
    # Products of small blocks cost more than zeros in one of all of them do.
    index = torch.arange(size, device=a.device)
    inverse, block = torch.eye(size, device=a.device), 1
    while block < size:
        pair, second = index // (2 * block), index // block % 2 == 1
        corner = a * ((pair[:, None] == pair) & second[:, None] & ~second)
        inverse = inverse - inverse @ corner @ inverse
        block *= 2
    return inverse


def _states_before(passed: Tensor, written: Tensor) -> Tensor:
    """The state before each chunk of S' = passed S + written, from S = 0.

    passed: [B, H, T, D, D]   written: [B, H, T, D, Dv]   returns [B, H, T, D, Dv]
    A loop over chunks would be one in the graph too. So a group of chunks is made one step, one chunk after the other
    but all groups at once; what groups pass on is a prefix scan in log2 rounds (Hillis and Steele 1986).
    """
    chunks = passed.shape[2]
    groups = (chunks + _GROUP - 1) // _GROUP
    steps = [
        pad(x, (0, 0, 0, 0, 0, groups * _GROUP - chunks)).unflatten(2, (groups, _GROUP)).unbind(3)
        for x in (passed, written)
    ]
    (group_passed, group_written), *rest = zip(*steps, strict=True)
    for step_passed, step_written in rest:
        group_passed, group_written = step_passed @ group_passed, step_passed @ group_written + step_written
    shift, most = 1, groups if isinstance(groups, int) else _LONGEST // (_GROUP * _CHUNK)
    while shift < most:
        group_written = group_written + group_passed @ later_by(group_written, shift)
        group_passed = group_passed @ later_by(group_passed, shift)
        shift *= 2
    states = [later_by(group_written, 1)]
    for step_passed, step_written in zip(*steps, strict=True):
        states.append(step_passed @ states[-1] + step_written)
    return torch.stack(states[:-1], dim=3).flatten(2, 3)[:, :, :chunks]


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
