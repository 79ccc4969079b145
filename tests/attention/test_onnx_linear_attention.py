"""The linear forms, chunked and fused, against the node tests that ONNX ships for its LinearAttention operator."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper
from onnx_cases import cases_of

from edgeattn.attention.blocks import cut
from edgeattn.attention.linear import CHUNK, FUSED, mix_chunks


def _cases():
    for case in cases_of("LinearAttention"):
        (node,) = case.model.graph.node[:1]
        if node.op_type == "LinearAttention" and not case.name.endswith("_expanded"):
            attributes = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
            named = dict(zip([name for name in node.input if name], case.data_sets[0][0], strict=True))
            yield pytest.param(case.model, attributes, named, case.data_sets[0][1], id=case.name)


CASES = list(_cases())
FP32 = [case for case in CASES if case.values[2]["query"].dtype == np.float32]
RULE = [case for case in FP32 if case.values[1].get("update_rule", b"gated_delta") == b"linear"]


def test_there_are_cases_of_every_rule():
    rules = {case.values[1].get("update_rule", b"gated_delta") for case in FP32}
    assert rules == {b"linear", b"gated", b"delta", b"gated_delta"}
    assert len(RULE) >= 2


@pytest.mark.parametrize(("model", "attributes", "inputs", "outputs"), FP32)
def test_the_operator_that_is_emitted_computes_what_onnx_says(model, attributes, inputs, outputs):
    """ONNX Runtime's kernel, which is in its own domain, on the cases of the standard one."""
    fused = onnx.ModelProto()
    fused.CopyFrom(model)
    domain, _, name = FUSED.partition("::")
    assert fused.graph.node[0].op_type == name
    fused.graph.node[0].domain = domain
    del fused.opset_import[:]
    fused.opset_import.extend([helper.make_opsetid("", 20), helper.make_opsetid(domain, 1)])
    fused.ir_version = 10
    session = onnxruntime.InferenceSession(fused.SerializeToString(), providers=["CPUExecutionProvider"])
    for found, expected in zip(session.run(None, inputs), outputs, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("model", "attributes", "inputs", "outputs"), RULE)
def test_the_chunked_form_computes_what_onnx_says(model, attributes, inputs, outputs):
    heads = attributes["q_num_heads"]
    q, k, v = (
        torch.from_numpy(inputs[name]).unflatten(-1, (heads, -1)).transpose(1, 2) for name in ("query", "key", "value")
    )
    q = q * (attributes.get("scale") or q.shape[-1] ** -0.5)
    n = q.shape[2]
    q_cut, k_cut, v_cut = (cut(x, CHUNK) for x in (q, k, v))
    found = mix_chunks([(q_cut, k_cut)], v_cut).flatten(2, 3)[:, :, :n]
    if "past_state" in inputs:  # the past is one more state that every query reads
        found = found + q @ torch.from_numpy(inputs["past_state"])
    np.testing.assert_allclose(found.transpose(1, 2).flatten(2).numpy(), outputs[0], rtol=1e-3, atol=1e-5)
