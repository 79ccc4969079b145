"""Tiny graphs of every attention variant at its contract options, and of token merging, with linear layers around.

for name in variant_graphs.DISTINCT:           # or NAMES, all of them: an export takes a second or two
    path = variant_graphs.save(name, folder)   # opset 17, its weights beside it
    feeds = variant_graphs.samples(name, 8)    # of several lengths
"""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor, nn
from torch.fx.experimental import _config as symbolic

from edgeattn.attention import ATTENTION
from edgeattn.attention.lowering import allow
from edgeattn.attention.token_merging import TokenMerging, TokenMergingOptions, first
from edgeattn.attention.variant import Shape, Variant
from edgeattn.export.opset import EXPORTED, lower_to_17
from edgeattn.export.rewrite import rewrite

WIDTH, HEADS = 16, 2
LENGTHS = (17, 37, 12, 130, 5)  # of samples
FIXED = 16  # of variants that are exported for one length
# Options that contracts are tested with beside the defaults.
MORE: dict[str, list[dict[str, Any]]] = {
    "hedgehog": [
        {"feature_dim": 4},
        {"feature_dim": 24},
        {"feature_map": "exp"},
        {"feature_map": "joint", "feature_dim": 4},
    ],
    "relu_linear": [{"conv": "2d", "grid_width": 4, "prefix_tokens": 1}, {"conv": "1d", "conv_kernel": 5}],
    "window_linear": [{"window": 4, "sinks": 2, "feature_dim": 4}, {"window": 8, "sinks": 0}],
    "agent": [{"agents": 3}],
    "luna": [{"projections": 4, "channels": 3, "hidden": 2}],
    "sliding_window": [{"window": 4, "global_tokens": 2}, {"window": 8, "global_tokens": 0}],
    "dilated_window": [{"window": 4, "dilation": 3}],
    "window_2d": [{"window": 2, "grid_width": 4, "shift": 1}],
    "block_topk": [{"block": 32, "topk": 2}],
}
# Each variant once for every mode that it has.
MODES = [
    (name, causal) for name in ATTENTION for causal in (False, True)
    if (ATTENTION[name].causal if causal else ATTENTION[name].bidirectional)
]  # fmt: skip
CASES = [(name, options, causal) for name, causal in MODES for options in [{}, *MORE.get(name, [])]]
MERGING = "token_merging"


def _name(name: str, options: dict[str, Any], causal: bool) -> str:
    return "-".join([name, *(["causal"] if causal else []), *(f"{key}-{value}" for key, value in options.items())])


_VARIANTS = {_name(*case): case for case in CASES}
NAMES = (*_VARIANTS, MERGING)
# What tests of methods take: each kind of product, mask and division once.
DISTINCT = (
    "hedgehog", "elu_linear-causal", "relu_linear-conv-2d-grid_width-4-prefix_tokens-1", "agent-agents-3",
    "block_topk-block-32-topk-2", MERGING,
)  # fmt: skip


class Block(nn.Module):
    """norm -> query, key, value -> a variant -> output; without the residual sum, which would hide errors."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.variant = variant

    def forward(self, x: Tensor, key_mask: Tensor) -> Tensor:
        normed = self.norm(x)
        heads = [each(normed).unflatten(-1, (HEADS, -1)).transpose(1, 2) for each in (self.query, self.key, self.value)]
        return self.out(self.variant(*heads, key_mask).transpose(1, 2).flatten(2))


class Merging(nn.Module):
    """A linear layer on tokens of which one pair was merged, and each token's row of that."""

    def __init__(self) -> None:
        super().__init__()
        self.key, self.out = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.reducer = TokenMerging(TokenMergingOptions(r=1))

    def forward(self, x: Tensor, key_mask: Tensor) -> Tensor:
        kept, metric, tokens = first(x, self.key(x), key_mask, least=2)
        kept, tokens = self.reducer.reduce(kept, metric, tokens)
        return tokens.restore(self.out(kept))


def module(name: str) -> nn.Module:
    """The torch module of a graph, with parameters moved from where they start, as after training."""
    torch.manual_seed(0)
    if name == MERGING:
        return Merging().eval()
    kind, options, causal = _VARIANTS[name]
    shape = Shape(heads=HEADS, head_dim=WIDTH // HEADS, scaling=(WIDTH // HEADS) ** -0.5, causal=causal)
    made = Block(ATTENTION[kind](shape, ATTENTION[kind].Options.model_validate(options)))
    with torch.no_grad():
        for parameter in made.variant.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.3)
    return made.eval()


@cache
def _exported(name: str) -> ir.Model:
    batch, length = torch.export.Dim("batch"), torch.export.Dim("sequence", min=1)
    axes = {0: batch, **({} if _fixed(name) else {1: length})}
    n = FIXED if _fixed(name) else 40
    example = (torch.randn(2, n, WIDTH), torch.ones(2, n, dtype=torch.bool))
    with allow(frozenset()), symbolic.patch(backed_size_oblivious=True), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(
            module(name), example, dynamic_shapes=[axes, axes], prefer_deferred_runtime_asserts_over_guards=True
        )
        exported = torch.onnx.export(
            program, dynamo=True, opset_version=EXPORTED, verbose=False,
            input_names=["x", "key_mask"], output_names=["out"],
        )  # fmt: skip
    assert exported is not None
    lower_to_17(exported.model)
    rewrite(exported.model)
    return exported.model


def _fixed(name: str) -> bool:
    return name != MERGING and not ATTENTION[_VARIANTS[name][0]].dynamic_length


def save(name: str, folder: Path) -> Path:
    """Writes one of the graphs: x [B, N, 16], key_mask [B, N] bool -> out [B, N, 16], opset 17."""
    path = folder / "model.onnx"
    ir.save(_exported(name).clone(), path, external_data=f"{path.name}.data")
    return path


def samples(name: str, count: int, seed: int = 0) -> list[dict[str, np.ndarray]]:
    """Inputs of batch 1, without padding."""
    rng = np.random.default_rng(seed)
    lengths = [FIXED if _fixed(name) else LENGTHS[index % len(LENGTHS)] for index in range(count)]
    return [
        {"x": rng.normal(size=(1, n, WIDTH)).astype(np.float32), "key_mask": np.ones((1, n), bool)} for n in lengths
    ]
