"""Gated DeltaNet against recurrences from elsewhere, and its chunks on difficult inputs."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx.reference.ops.op_linear_attention import LinearAttention
from torch.nn.functional import normalize

from edgeattn.attention.gated_delta import GatedDelta
from edgeattn.attention.linear import FUSED
from edgeattn.attention.lowering import allow
from edgeattn.attention.variant import Shape


def layer(heads=2, d=8, seed=0):
    made = GatedDelta(Shape(heads=heads, head_dim=d, scaling=d**-0.5, causal=True), GatedDelta.Options())
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.5)
    return made.eval()


def inputs(n, b=2, h=2, d=8, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(b, h, n, d, generator=generator) for _ in range(3)]


@torch.no_grad()
def test_it_is_the_naive_recurrence_of_flash_linear_attention():
    """Re-derived: h is [D, Dv]; it decays, then the value is corrected by what the key reads, then it is written."""
    made = layer()
    q, k, v = inputs(100)
    decay, strength = made.gates(k, None)
    query, key = normalize(q, dim=-1), normalize(k, dim=-1)
    h, expected = torch.zeros(2, 2, 8, 8), []
    for t in range(100):
        h = h * decay[:, :, t, :, None].exp()
        read = torch.einsum("bhd,bhdv->bhv", key[:, :, t], h)
        h = h + torch.einsum("bhd,bhv->bhdv", key[:, :, t], strength[:, :, t] * (v[:, :, t] - read))
        expected.append(torch.einsum("bhd,bhdv->bhv", query[:, :, t], h) * made.scale[:, 0])
    torch.testing.assert_close(made(q, k, v), torch.stack(expected, 2), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_it_is_onnx_s_gated_delta_rule():
    made = layer()
    q, k, v = inputs(70)
    decay, strength = made.gates(k, None)

    def packed(x):
        return x.transpose(1, 2).flatten(2).numpy()

    operator = LinearAttention.__new__(LinearAttention)
    out, _ = operator._run(
        packed(normalize(q, dim=-1)), packed(normalize(k, dim=-1)), packed(v), None, packed(decay), packed(strength),
        chunk_size=64, kv_num_heads=2, q_num_heads=2, scale=1.0, update_rule="gated_delta",
    )  # fmt: skip
    found = packed(made(q, k, v) / made.scale)
    np.testing.assert_allclose(found, out, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_keys_that_are_all_alike_do_not_blow_up():
    """A series in powers of the triangular matrix reaches 1e18 here; block inversion stays exact."""
    made = layer()
    with torch.no_grad():
        made.gate_bias[..., 1:].fill_(20.0)  # full write strength
    q, _, v = inputs(200)
    k = torch.ones_like(q)
    torch.testing.assert_close(made(q, k, v), made.reference(q, k, v), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_strong_decay_underflows_to_nothing_and_not_to_nan():
    made = layer()
    made.gate_bias[..., :1].fill_(30.0)  # every token forgets all
    q, k, v = inputs(130)
    found = made(q, k, v)
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found, made.reference(q, k, v), rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_leaves_the_state_as_it_is(side):
    made = layer()
    q, k, v = inputs(90)
    alone = made(q, k, v)
    room = (7, 0) if side == "left" else (0, 7)
    padded = [torch.nn.functional.pad(x, (0, 0, *room), value=3.0) for x in (q, k, v)]
    mask = torch.nn.functional.pad(torch.ones(2, 90, dtype=torch.bool), room)
    found = made(*padded, mask)[:, :, room[0] : room[0] + 90]
    torch.testing.assert_close(found, alone, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_fused_operator_of_onnx_runtime_is_the_same(tmp_path):
    made, file = layer(), tmp_path / "model.onnx"
    feeds = (*inputs(150), torch.arange(150) < torch.tensor([[150], [90]]))
    names = ["q", "k", "v", "key_mask"]
    with allow(frozenset({FUSED})):
        torch.onnx.export(made, feeds, dynamo=True, opset_version=20, verbose=False, input_names=names).save(file)
    assert [node.op_type for node in onnx.load(file).graph.node if node.domain == "com.microsoft"] == [
        "LinearAttention"
    ]
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {name: x.numpy() for name, x in zip(names, feeds, strict=True)})
    torch.testing.assert_close(torch.from_numpy(found), made(*feeds), rtol=1e-4, atol=1e-4)
