"""How many tokens a model takes: what the table says is what the model does."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
import tiny_models
import torch
import transformers

from edgeattn.convert import find_layers
from edgeattn.errors import ModelError
from edgeattn.export.onnx import PREFERRED_OPSET, export, save
from edgeattn.models.example import example_inputs
from edgeattn.models.positions import extend_positions, token_limit
from edgeattn.recipe.schema import Bench
from edgeattn.stages.evidence import bench_lengths
from edgeattn.stages.export import interface_of

_BERT = {
    "vocab_size": 48, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24,
    "max_position_embeddings": 40,
}  # fmt: skip
_ROBERTA = {**_BERT, "pad_token_id": 1}
_SEQ2SEQ = {
    "vocab_size": 48, "d_model": 16, "max_position_embeddings": 40, "encoder_layers": 1, "decoder_layers": 1,
    "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24,
}  # fmt: skip
_ROTARY = {**_BERT, "pad_token_id": 0, "num_key_value_heads": 2}
_GPT = {"vocab_size": 48, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 40}

# name of the classes -> (options, tokens that 40 rows or positions are, None for no limit)
_LIMITS: dict[str, tuple[dict, int | None]] = {
    "Bert": (_BERT, 40),
    "Electra": ({**_BERT, "embedding_size": 8}, 40),
    "Yoso": (_BERT, 40),
    "Roberta": (_ROBERTA, 38),
    "XLMRoberta": (_ROBERTA, 38),
    "Camembert": (_ROBERTA, 38),
    "Data2VecText": (_ROBERTA, 38),
    "IBert": (_ROBERTA, 38),
    "MPNet": (_ROBERTA, 38),
    "Esm": ({**_ROBERTA, "position_embedding_type": "absolute", "pad_token_id": 3, "mask_token_id": 4}, 36),
    "Bart": (_SEQ2SEQ, 40),
    "GPT2": (_GPT, 40),
    "GPTJ": ({**_GPT, "rotary_dim": 4}, 40),
    "RoFormer": (_BERT, 40),
    "CLIPText": ({**_BERT, "pad_token_id": 0, "eos_token_id": 2}, 40),
    "Llama": (_ROTARY, None),
    "ModernBert": ({**_ROTARY, "cls_token_id": 1, "sep_token_id": 2, "eos_token_id": 2}, None),
    "DebertaV2": ({**_BERT, "position_biased_input": False, "relative_attention": True}, None),
}
_LEARNED = ("Bert", "Electra", "Yoso", "Roberta", "Camembert", "Data2VecText", "MPNet", "Esm")


def make(name: str):
    """(a tiny model, a function that runs it on a text of so many tokens)"""
    torch.manual_seed(0)
    options = _LIMITS[name][0]
    model = getattr(transformers, f"{name}Model")(getattr(transformers, f"{name}Config")(**options)).eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.4)

    def run(tokens: int) -> torch.Tensor:
        ids = torch.randint(5, 48, (1, tokens), generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            return model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state

    return model, run


@pytest.mark.parametrize("name", _LIMITS)
def test_the_limit_is_the_last_length_that_runs(name):
    model, run = make(name)
    limit = _LIMITS[name][1]
    assert token_limit(model) == limit
    assert run(limit or 90).isfinite().all()
    if limit is not None:
        with pytest.raises((IndexError, RuntimeError, ValueError)):
            run(limit + 1)


@pytest.mark.parametrize("name", _LIMITS)
def test_the_limit_needs_no_weights(name):
    config = getattr(transformers, f"{name}Config")(**_LIMITS[name][0])
    with torch.device("meta"):
        assert token_limit(getattr(transformers, f"{name}Model")(config)) == _LIMITS[name][1]


def test_longformer_has_reserved_rows_too():
    config = transformers.LongformerConfig(**_ROBERTA, attention_window=4)
    with torch.device("meta"):
        assert token_limit(transformers.LongformerModel(config)) == 38


def test_a_table_of_positions_that_rotary_embeddings_do_not_read_is_no_limit():
    config = transformers.EsmConfig(**_ROBERTA, position_embedding_type="rotary", mask_token_id=4)
    with torch.device("meta"):
        assert token_limit(transformers.EsmModel(config)) is None


def test_rotary_frequencies_that_change_at_a_length_end_there():
    options = {**_ROTARY, "rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}}
    with torch.device("meta"):
        assert token_limit(transformers.LlamaModel(transformers.LlamaConfig(**options))) == 40


@pytest.mark.parametrize("name", ["vit", "clip_vision", "wav2vec2", "t5"])
def test_models_without_positions_of_text_have_no_limit(name):
    assert token_limit(tiny_models.make(name, layers=1)[0]) is None


@pytest.mark.parametrize(("name", "limit"), [("clip", 32), ("whisper", 32), ("distilbert", 32)])
def test_the_text_of_a_model_of_several_inputs_counts(name, limit):
    assert token_limit(tiny_models.make(name, layers=1)[0]) == limit


@pytest.mark.parametrize("name", _LEARNED)
def test_extended_positions_leave_short_texts_alone(name):
    model, run = make(name)
    limit = _LIMITS[name][1]
    before = run(limit)
    extend_positions(model, 100)
    assert token_limit(model) == 100
    assert torch.equal(run(limit), before)
    assert run(100).isfinite().all()
    with pytest.raises((IndexError, RuntimeError, ValueError)):
        run(101)
    # A student is rebuilt from its config: it must get the same table.
    assert type(model)(model.config).state_dict().keys() == model.state_dict().keys()
    assert type(model)(model.config).load_state_dict(model.state_dict())


def test_extended_positions_copy_rows_of_tokens_only():
    model, _ = make("Roberta")
    old = model.embeddings.position_embeddings.weight.clone()
    extend_positions(model, 80)
    new = model.embeddings.position_embeddings.weight
    assert new.shape == (82, 16)
    assert torch.equal(new[:2], old[:2])
    for token in range(80):
        assert torch.equal(new[2 + token], old[2 + token % 38])


@pytest.mark.parametrize("name", ["Llama", "RoFormer", "GPTJ"])
def test_positions_that_are_not_learned_cannot_be_extended(name):
    with pytest.raises(ModelError, match=f"{name}Model has no learned position embeddings to extend\n  fix: drop"):
        extend_positions(make(name)[0], 80)


def test_an_encoder_decoder_cannot_be_extended():
    with pytest.raises(ModelError, match="BartModel has several tables of position embeddings"):
        extend_positions(make("Bart")[0], 80)


@pytest.mark.parametrize("name", ["Camembert", "Data2VecText"])
def test_an_example_of_a_model_without_roberta_in_its_type(name):
    model, _ = make(name)
    inputs = example_inputs(model)
    assert inputs["input_ids"].shape == (1, 38)
    assert len(find_layers(model, inputs)) == 1
    with pytest.raises(ModelError, match="39 tokens are more than the 38 positions of the model"):
        example_inputs(model, length=39)


def test_a_roberta_is_exported_and_timed_up_to_its_limit(tmp_path):
    """The recipe names no lengths: the longest is the model's limit, not the rows of its table."""
    recipe = SimpleNamespace(bench=Bench())
    model, _ = make("Roberta")
    task, limit = tiny_models.text_task(tmp_path), token_limit(model)
    feeds = tiny_models.feeds("roberta", lengths=(12, 5))
    outputs = {"student.sentence_embedding": np.ones((2, 8), np.float32)}
    interface = interface_of(task, {name: x.numpy() for name, x in feeds.items()}, outputs, task.longest(model))
    assert bench_lengths(recipe, interface) == (38,)
    whole = task.exportable(model).eval()
    graph, _ = export(whole, feeds, task.dynamic_dims(), opset=PREFERRED_OPSET, limits={"sequence": (1, limit)})
    save(graph, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    longest = tiny_models.feeds("roberta", lengths=(38, 20, 1))
    found = session.run(None, {name: x.numpy() for name, x in longest.items()})[0]
    with torch.no_grad():
        assert torch.allclose(torch.from_numpy(found), whole(**longest)["sentence_embedding"], atol=1e-5)
