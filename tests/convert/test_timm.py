"""timm's vision transformers. timm needs torchvision, which is no part of this project, so mostly these are skipped."""

from __future__ import annotations

import onnxruntime
import pytest
import torch

from edgeattn.convert import Choice, convert, find_layers, variants
from edgeattn.errors import ModelError
from edgeattn.export.onnx import PREFERRED_OPSET, export, save
from edgeattn.models.student import load_student, save_student

timm = pytest.importorskip("timm", reason="timm is not installed", exc_type=ImportError)

HEDGEHOG, WINDOW = Choice(0, "hedgehog", {"feature_dim": 8}), Choice(1, "sliding_window", {"window": 4})
TINY = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 4, "num_classes": 5}


def make(**options):
    torch.manual_seed(0)
    model = timm.models.VisionTransformer(**TINY, **options).eval()
    for parameter in model.parameters():  # an attention that sees everything alike would hide what it computes
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.4)
    return model


def images(batch=2):
    return {"x": torch.rand(batch, 3, 32, 32, generator=torch.Generator().manual_seed(1))}


@pytest.mark.parametrize(
    "options", [{}, {"qk_norm": True}, {"scale_attn_norm": True, "qkv_bias": False}], ids=["plain", "qk_norm", "norm"]
)
def test_dense_layers_are_timms_own(options):
    model, feeds = make(**options), images()
    with torch.no_grad():
        expected = model(**feeds)
    names = list(model.state_dict())
    layers = find_layers(model, feeds)
    assert [(layer.name, layer.kind, layer.shape.heads, layer.shape.head_dim) for layer in layers] == [
        ("blocks.0.attn", "Attention", 4, 8),
        ("blocks.1.attn", "Attention", 4, 8),
    ]
    with torch.no_grad():
        torch.testing.assert_close(model(**feeds), expected, rtol=1e-5, atol=1e-5)
    assert list(model.state_dict()) == names


def test_a_converted_one_trains_comes_back_and_runs_in_onnx_runtime(tmp_path):
    model, feeds, plan = make(), images(), (HEDGEHOG, WINDOW)
    with torch.no_grad():
        dense = model(**feeds)
    convert(model, plan, feeds)
    model(**feeds).square().mean().backward()
    assert all(bool(weight.grad.any()) for variant in variants(model) for weight in variant.parameters())
    with torch.no_grad():
        variants(model)[0].query_map.add_(0.3)
        expected = model(**feeds)
    assert float((expected - dense).abs().max()) > 1e-3
    save_student(model, plan, tmp_path)
    again = load_student(tmp_path, make, feeds)
    with torch.no_grad():
        assert torch.equal(again(**feeds), expected)
    graph, _ = export(again, feeds, {"x": {0: "batch"}}, opset=PREFERRED_OPSET)
    save(graph, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    for batch in (2, 3):
        (found,) = session.run(None, {"x": images(batch)["x"].numpy()})
        with torch.no_grad():
            torch.testing.assert_close(torch.from_numpy(found), again(**images(batch)), rtol=1e-4, atol=1e-4)


def test_an_attention_with_relative_positions_is_refused():
    model = timm.create_model(
        "vit_relpos_small_patch16_224", img_size=32, patch_size=8, embed_dim=32, depth=1, num_heads=4
    ).eval()
    with pytest.raises(
        ModelError, match=r"has no attention that edgeattn can replace: RelPosAttention computes its own"
    ):
        find_layers(model, images())
