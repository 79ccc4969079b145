"""Plain PyTorch models: their dense layers compute what they did, their variants are really called, and they export."""

from __future__ import annotations

import copy
import json

import onnxruntime
import pytest
import torch
from torch import nn

from edgeattn.convert import Choice, convert, find_layers, plan_of, transfer_losses, variants
from edgeattn.errors import ModelError
from edgeattn.export.onnx import PREFERRED_OPSET, export, save
from edgeattn.models.student import load_student, save_student

pytestmark = pytest.mark.filterwarnings(
    "ignore:enable_nested_tensor", "ignore:The PyTorch API of nested", "ignore:Supp"
)
WIDTH, HEADS, LENGTH = 16, 2, 12
HEDGEHOG = Choice(0, "hedgehog", {"feature_dim": 4})


class Encoder(nn.Module):
    """Two encoder layers over embeddings, as people write them without any library."""

    def __init__(self, causal: bool = False, **options):
        super().__init__()
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 24, dropout=0.0, **{"batch_first": True, **options})
        self.embed = nn.Embedding(20, WIDTH)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.causal, self.batch_first = causal, layer.self_attn.batch_first

    def forward(self, ids, padding=None):
        x = self.embed(ids)
        x = x if self.batch_first else x.transpose(0, 1)
        length = ids.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(length) if self.causal else None
        x = self.encoder(x, mask=mask, src_key_padding_mask=padding, is_causal=self.causal)
        return x if self.batch_first else x.transpose(0, 1)


class Translator(nn.Module):
    def __init__(self):
        super().__init__()
        self.core = nn.Transformer(WIDTH, HEADS, 1, 1, 24, dropout=0.0, batch_first=True)

    def forward(self, source, target):
        mask = nn.Transformer.generate_square_subsequent_mask(target.shape[1])
        return self.core(source, target, tgt_mask=mask, tgt_is_causal=True)


class Single(nn.Module):
    """One nn.MultiheadAttention, called as it is here."""

    def __init__(self, **options):
        super().__init__()
        self.attn = nn.MultiheadAttention(WIDTH, HEADS, **options)

    def forward(self, x, memory=None, **masks):
        memory = x if memory is None else memory
        return self.attn(x, memory, memory, need_weights=False, **masks)[0]


def made(kind, *args, **options):
    torch.manual_seed(0)
    model = kind(*args, **options)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.4)
    return model.eval()


def random(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def ids(batch=3, length=LENGTH):
    return {"ids": torch.randint(0, 20, (batch, length), generator=torch.Generator().manual_seed(1))}


def padded(lengths=(LENGTH, 5, 1)):
    return {**ids(len(lengths), max(lengths)), "padding": torch.arange(max(lengths)) >= torch.tensor(lengths)[:, None]}


def close(a, b, tolerance=1e-5):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("options", [{}, {"batch_first": False}, {"norm_first": True}, {"bias": False}], ids=str)
@pytest.mark.parametrize("causal", [False, True])
def test_dense_encoder_layers_are_torchs_own(options, causal):
    model, feeds = made(Encoder, causal, **options), padded()
    real = ~feeds["padding"]
    with torch.no_grad():
        expected = model(**feeds)[real]
    before = list(model.state_dict())
    layers = find_layers(model, feeds)
    assert [layer.name for layer in layers] == ["encoder.layers.0.self_attn", "encoder.layers.1.self_attn"]
    assert [layer.kind for layer in layers] == ["MultiheadAttention"] * 2
    assert [(layer.shape.causal, layer.cross, layer.bias) for layer in layers] == [(causal, False, False)] * 2
    with torch.no_grad():
        close(model(**feeds)[real], expected)
    assert list(model.state_dict()) == before


@pytest.mark.parametrize("feeds", [ids(), padded()], ids=["whole", "padded"])
def test_the_fused_path_does_not_pass_a_variant_by(feeds):
    """Without gradients and in evaluation torch would run a whole encoder layer as one native call."""
    model = convert(made(Encoder), (HEDGEHOG, Choice(1, "sliding_window", {"window": 4})), feeds)
    calls = []
    for variant in variants(model):
        variant.register_forward_hook(lambda module, *_: calls.append(type(module).__name__))
    with torch.no_grad():
        model(**feeds)
    assert calls == ["Hedgehog", "SlidingWindow"]


def test_a_window_as_wide_as_the_sequence_changes_nothing():
    model, feeds = made(Encoder), padded()
    with torch.no_grad():
        expected = model(**feeds)
    wide = tuple(Choice(layer, "sliding_window", {"window": 64, "global_tokens": 0}) for layer in range(2))
    convert(model, wide, feeds)
    with torch.no_grad():
        close(model(**feeds)[~feeds["padding"]], expected[~feeds["padding"]])


def test_gradients_reach_the_variant_and_transfer_has_a_loss():
    model, feeds = convert(made(Encoder), (HEDGEHOG,), padded()), padded()
    model.train()(**feeds).square().mean().backward()
    assert all(bool(weight.grad.any()) for weight in variants(model)[0].parameters())
    with transfer_losses() as losses:
        model(**feeds)
    assert len(losses) == 1


def test_decoder_layers_have_causal_and_cross_attention():
    model = made(Translator)
    feeds = {"source": random(2, 7, WIDTH), "target": random(2, 7, WIDTH, seed=2)}  # of equal length
    with torch.no_grad():
        expected = model(**feeds)
    layers = find_layers(model, feeds)
    assert [(layer.name.removeprefix("core."), layer.shape.causal, layer.cross) for layer in layers] == [
        ("encoder.layers.0.self_attn", False, False),
        ("decoder.layers.0.self_attn", True, False),
        ("decoder.layers.0.multihead_attn", False, True),
    ]
    with torch.no_grad():
        close(model(**feeds), expected)
    with pytest.raises(
        ModelError, match=r"^layer 2 \(core.decoder.layers.0.multihead_attn\): sliding_window cannot rep"
    ):
        convert(model, (Choice(2, "sliding_window", {}),), feeds)


@pytest.mark.parametrize(
    ("options", "feeds"),
    [
        ({"kdim": 10, "vdim": 10}, {"x": random(7, 2, WIDTH), "memory": random(5, 2, 10)}),
        ({"batch_first": True, "bias": False}, {"x": random(2, 7, WIDTH)}),
        ({}, {"x": random(7, WIDTH), "key_padding_mask": torch.arange(7) > 4}),
        ({"batch_first": True}, {"x": random(2, 7, WIDTH), "attn_mask": random(4, 7, 7)}),
        ({"batch_first": True}, {"x": random(2, 7, WIDTH), "attn_mask": random(7, 7) > 1}),
        ({"batch_first": True}, {"x": random(2, 7, WIDTH), "key_padding_mask": random(2, 7)}),
        (
            {"batch_first": True},
            {
                "x": random(2, 7, WIDTH),
                "attn_mask": torch.ones(7, 7, dtype=torch.bool).triu(1),
                "key_padding_mask": torch.arange(7) >= torch.tensor([7, 3])[:, None],
            },
        ),
    ],
    ids=["kdim", "no bias", "unbatched", "mask a head", "bool mask", "added padding", "causal and padded"],
)
def test_whatever_dense_attention_is_given_it_computes(options, feeds):
    model = made(Single, **options)
    with torch.no_grad():
        expected = model(**feeds)
    find_layers(model, feeds)
    with torch.no_grad():
        close(model(**feeds), expected)


@pytest.mark.parametrize("mask", [torch.ones(7, 7, dtype=torch.bool).triu(1), "float"], ids=["bool", "float"])
def test_a_mask_that_is_exactly_causal_makes_a_causal_layer(mask):
    if isinstance(mask, str):
        mask = nn.Transformer.generate_square_subsequent_mask(7)
    model, feeds = made(Single, batch_first=True), {"x": random(2, 7, WIDTH), "attn_mask": mask}
    assert find_layers(model, feeds)[0].shape.causal
    convert(model, (HEDGEHOG,), feeds)
    changed = {**feeds, "x": torch.cat([feeds["x"][:, :4], random(2, 3, WIDTH, seed=9)], 1)}
    with torch.no_grad():
        close(model(**changed)[:, :4], model(**feeds)[:, :4])


def test_another_mask_is_refused_when_converting_and_when_running():
    mask = torch.ones(7, 7, dtype=torch.bool).triu(2)  # one key too many
    model, feeds = made(Single, batch_first=True), {"x": random(2, 7, WIDTH)}
    fact = "hedgehog cannot add this layer's bias of relative positions or mask of its own"
    fix = "use sliding_window, dilated_window, window_2d, block_topk, or leave this layer dense"
    with pytest.raises(ModelError, match=rf"^layer 0 \(attn\): {fact}\n  fix: {fix}$"):
        convert(copy.deepcopy(model), (HEDGEHOG,), {**feeds, "attn_mask": mask})
    convert(model, (HEDGEHOG,), feeds)
    with pytest.raises(ModelError, match=r"^layer 0 \(attn\): hedgehog cannot add the bias or mask that this"):
        model(**feeds, attn_mask=mask)
    with pytest.raises(
        ModelError, match=r"^layer 0 \(attn\): hedgehog was put into a layer that was bidirectional, and"
    ):
        model(**feeds, attn_mask=torch.ones(7, 7, dtype=torch.bool).triu(1))


@pytest.mark.parametrize("option", ["add_bias_kv", "add_zero_attn"])
def test_keys_that_are_no_tokens_are_refused(option):
    message = f"^attn: MultiheadAttention with {option} attends to a key that is no token, which edgeattn does not"
    with pytest.raises(ModelError, match=message):
        find_layers(made(Single, **{option: True}), {"x": random(7, 2, WIDTH)})


def test_a_model_with_an_attention_of_its_own_is_told_so():
    class LocalAttention(nn.Linear):
        pass

    model = nn.Sequential(LocalAttention(4, 4))
    with pytest.raises(
        ModelError, match=r"^Sequential has no attention that edgeattn can replace: LocalAttention \(0\) comp"
    ):
        find_layers(model, {"input": random(2, 4)})


@pytest.mark.parametrize("causal", [False, True])
def test_a_plain_student_comes_back_from_disk_and_runs_in_onnx_runtime(causal, tmp_path):
    model, feeds = made(Encoder, causal), padded()
    convert(model, (HEDGEHOG,), feeds)
    with torch.no_grad():
        variants(model)[0].query_map.add_(0.3)
        expected = model(**feeds)
    save_student(model, (HEDGEHOG,), tmp_path)
    again = load_student(tmp_path, lambda: Encoder(causal), feeds)
    with torch.no_grad():
        assert torch.equal(again(**feeds), expected)
    graph, _ = export(
        again,
        feeds,
        {name: {0: "batch", 1: "sequence"} for name in feeds},
        opset=PREFERRED_OPSET,
        limits={"sequence": (1, 64)},
    )
    save(graph, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    for other in (feeds, padded((9,))):
        (found,) = session.run(None, {name: x.numpy() for name, x in other.items()})
        with torch.no_grad():
            wanted = again(**other)
        real = ~other["padding"]
        close(torch.from_numpy(found)[real], wanted[real], 1e-4)


def test_the_plan_of_a_plain_student_is_beside_its_weights(tmp_path):
    model = convert(made(Encoder), (HEDGEHOG,), ids())
    save_student(model, (HEDGEHOG,), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    assert plan_of(json.loads((tmp_path / "config.json").read_text())) == (HEDGEHOG,)
