"""Variants of the linear family as after training, and their graphs in ONNX Runtime."""

from __future__ import annotations

import onnx_ir as ir
import onnxruntime
import torch

from edgeattn.attention import ATTENTION
from edgeattn.attention.variant import Shape
from edgeattn.crossover.block import core


def layer(name, *, causal=False, heads=2, d=8, trained=True, **options):
    kind = ATTENTION[name]
    made = kind(Shape(heads, d, d**-0.5, causal), kind.Options.model_validate(options))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in made.parameters() if trained else ():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return made.eval()


def inputs(n, *, b=2, h=2, d=8, dv=None, std=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(b, h, n, size, generator=generator) * std for size in (d, d, dv or d)]


def close(found, expected, tolerance=1e-5):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def features(made, q, k):
    """All features of queries and of keys, [B, H, N, F] each."""
    return [torch.cat(made.features(x), dim=-1) for x in (made.query(q), made.key(k))]


class Graph:
    """A variant's graph, and that graph in ONNX Runtime."""

    def __init__(self, made, *, key_mask=True, operators=frozenset()):
        self.heads = made.shape.heads
        self.model = core(made, key_mask=key_mask, operators=frozenset(operators))
        proto = ir.to_proto(self.model).SerializeToString()
        self.session = onnxruntime.InferenceSession(proto, providers=["CPUExecutionProvider"])

    def __call__(self, q, k, v, key_mask=None):
        feeds = {name: x.transpose(1, 2).flatten(2).numpy() for name, x in zip("qkv", (q, k, v), strict=True)}
        if key_mask is not None:
            feeds["key_mask"] = key_mask.numpy()
        (out,) = self.session.run(None, feeds)
        return torch.from_numpy(out).unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def count(self, operator):
        """Nodes of that operator, as "Name" or "domain::Name"."""
        return sum(operator in (node.op_type, f"{node.domain}::{node.op_type}") for node in self.model.graph)
