"""Dense attention, plain and fused, against the node tests that ONNX ships for its Attention operator."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx_cases import cases_of
from torch import nn

from edgeattn.attention.dense import FUSED, dense_attention
from edgeattn.attention.lowering import allow

# Keys and values of earlier steps, scores as an output, a cap on scores: not computed here.
_BEYOND = {"softcap", "qk_matmul_output_mode", "left_window_size", "right_window_size", "softmax_precision"}


def _cases():
    for case in cases_of("Attention"):
        (node,) = case.model.graph.node[:1]
        attributes = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
        inputs = list(node.input)
        plain = node.op_type == "Attention" and len(inputs) <= 4 and sum(map(bool, node.output)) == 1
        if plain and not attributes.keys() & _BEYOND and case.data_sets[0][0][0].dtype == np.float32:
            yield pytest.param(attributes, *case.data_sets[0], id=case.name)


CASES = list(_cases())
UNMASKED, MASKED = ([case for case in CASES if (len(case.values[1]) > 3) == masked] for masked in (False, True))


def heads(x, count):
    """[B, N, H * D] -> [B, H, N, D]; [B, H, N, D] as it is."""
    return x if x.ndim == 4 else x.unflatten(-1, (count, -1)).transpose(1, 2)


class Layer(nn.Module):
    """dense_attention with the attributes of a case, from the operator's inputs to its output."""

    def __init__(self, attributes, mask):
        super().__init__()
        self.attributes, self.mask = attributes, mask

    def forward(self, q, k, v):
        packed = q.ndim == 3
        count = self.attributes.get("q_num_heads"), self.attributes.get("kv_num_heads")
        q, k, v = heads(q, count[0]), heads(k, count[1]), heads(v, count[1])
        k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
        causal = bool(self.attributes.get("is_causal"))
        bias = None
        if self.mask is not None:
            bias = torch.where(self.mask, 0.0, -1e30) if self.mask.dtype == torch.bool else self.mask
            bias = bias.expand(*([1] * (4 - bias.ndim)), *bias.shape)
            if bias.shape[-1] < k.shape[-2]:  # the operator pads a short mask with keys that are not seen
                bias = nn.functional.pad(bias, (0, k.shape[-2] - bias.shape[-1]), value=-1e30)
        if causal:  # the operator lets query i see keys 0 to i: no query sees those beyond the last query
            k, v = k[:, :, : q.shape[2]], v[:, :, : q.shape[2]]
            bias = None if bias is None else bias[..., : q.shape[2]]
        scaling = self.attributes.get("scale", q.shape[-1] ** -0.5)
        out = dense_attention(q, k, v, None, scaling, causal=causal, bias=bias)
        return out.transpose(1, 2).flatten(2) if packed else out


def close(found, expected):
    """A query that sees no key has 0 in the operator; here it is padding, which need only be finite."""
    assert np.isfinite(found).all()
    seen = (expected != 0).any(-1)
    np.testing.assert_allclose(found[seen], expected[seen], rtol=1e-3, atol=1e-5)


def test_there_are_cases_of_every_kind():
    assert len(CASES) >= 15
    names = " ".join(str(case.id) for case in CASES)
    assert all(kind in names for kind in ("3d", "4d", "gqa", "causal", "mask", "scaled", "diff_heads"))


@pytest.mark.parametrize(("attributes", "inputs", "outputs"), CASES)
def test_dense_attention_is_the_operator(attributes, inputs, outputs):
    q, k, v, *mask = (torch.from_numpy(np.array(x)) for x in inputs)
    found = Layer(attributes, mask[0] if mask else None)(q, k, v)
    close(found.numpy(), outputs[0])


@pytest.mark.parametrize(("attributes", "inputs", "outputs"), CASES)
def test_the_plain_graph_is_the_operator(attributes, inputs, outputs, tmp_path):
    lowered(attributes, inputs, outputs, frozenset(), tmp_path)


# The fused operator is for layers without a bias: of the cases with one, the first shows that it stays away.
@pytest.mark.parametrize(("attributes", "inputs", "outputs"), [*UNMASKED, MASKED[0]])
def test_the_fused_graph_is_the_operator(attributes, inputs, outputs, tmp_path):
    lowered(attributes, inputs, outputs, frozenset({FUSED}), tmp_path)


def lowered(attributes, inputs, outputs, operators, tmp_path):
    q, k, v, *mask = (torch.from_numpy(np.array(x)) for x in inputs)
    with allow(operators):
        program = torch.onnx.export(
            Layer(attributes, mask[0] if mask else None).eval(), (q, k, v), dynamo=True, opset_version=20,
            input_names=["q", "k", "v"], verbose=False,
        )  # fmt: skip
    program.save(tmp_path / "model.onnx")
    fused = [node for node in onnx.load(tmp_path / "model.onnx").graph.node if node.domain == "com.microsoft"]
    assert len(fused) == (1 if operators and not mask else 0)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"q": q.numpy(), "k": k.numpy(), "v": v.numpy()})
    close(found, outputs[0])
