"""Weights that do not fit their config are refused, with the names of the tensors; unused heads may differ."""

from __future__ import annotations

import json

import pytest
import tiny_models
import torch
import transformers
from safetensors.torch import load_file, save_file

from edgeattn.errors import ModelError
from edgeattn.models.teacher import check_output, load_teacher


@pytest.fixture
def folder(tmp_path):
    """A teacher's folder with a tokenizer: two layers, with the pooler that sentence embeddings do not use."""
    tiny_models.make("bert", layers=2)[0].save_pretrained(tmp_path / "bert")
    return tiny_models.tokenizer(tmp_path / "bert")


def load(folder):
    return load_teacher(folder, tiny_models.text_task(folder))


def refused(folder, message):
    with pytest.raises(ModelError) as caught:
        load(folder)
    assert str(caught.value) == message.format(folder=folder)
    assert caught.value.exit_code == 2


def configure(folder, **options):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **options}))


def change(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


FIX = "\n  fix: give the config.json that was saved with these weights, or save the model again"


def test_a_renamed_tensor(folder):
    name = "encoder.layer.0.attention.self.query.weight"
    change(folder, lambda tensors: tensors.update({name.replace("query", "qurey"): tensors.pop(name)}))
    refused(
        folder,
        f"{{folder}}: its weights do not fit its config.json: 1 tensor is missing: {name}; 1 tensor is without a "
        "place in the model: encoder.layer.0.attention.self.qurey.weight" + FIX,
    )


def test_a_config_of_more_layers_than_the_weights_have(folder):
    configure(folder, num_hidden_layers=4)
    refused(
        folder,
        "{folder}: its weights do not fit its config.json: 32 tensors are missing: "
        "encoder.layer.2.attention.output.LayerNorm.bias, encoder.layer.2.attention.output.LayerNorm.weight, "
        "encoder.layer.2.attention.output.dense.bias and 29 more" + FIX,
    )


def test_a_config_of_fewer_layers_than_the_weights_have(folder):
    configure(folder, num_hidden_layers=1)
    refused(
        folder,
        "{folder}: its weights do not fit its config.json: 16 tensors are without a place in the model: "
        "encoder.layer.1.attention.output.LayerNorm.bias, encoder.layer.1.attention.output.LayerNorm.weight, "
        "encoder.layer.1.attention.output.dense.bias and 13 more" + FIX,
    )


def test_a_tensor_of_another_shape(folder):
    configure(folder, type_vocab_size=3)
    refused(
        folder,
        "{folder}: its weights do not fit its config.json: embeddings.token_type_embeddings.weight is [2, 16], "
        "not [3, 16]" + FIX,
    )


def test_a_config_far_larger_than_the_weights_is_refused_before_it_is_allocated(folder):
    configure(folder, vocab_size=10**12)
    size = (folder / "model.safetensors").stat().st_size
    with pytest.raises(ModelError) as caught:
        load(folder)
    assert caught.value.where == str(folder / "config.json")
    assert "parameters, among them embeddings.word_embeddings.weight [1000000000000, 16]" in caught.value.fact
    assert caught.value.fact.endswith(f"but the weights are {size} bytes")


def test_a_pooler_that_the_task_does_not_use_may_be_absent(folder):
    change(folder, lambda tensors: [tensors.pop(name) for name in list(tensors) if name.startswith("pooler")])
    load(folder)


@pytest.mark.parametrize("name", ["BertForMaskedLM", "BertForSequenceClassification"])
def test_the_head_of_another_task_may_be_there(folder, name):
    model = getattr(transformers, name)(tiny_models.config("bert", 2)).eval()
    model.save_pretrained(folder)
    feeds = tiny_models.feeds("bert")
    with torch.no_grad():
        expected = model.bert(**feeds).last_hidden_state
        assert torch.equal(load(folder)(**feeds).last_hidden_state, expected)


def test_the_head_that_the_task_uses_must_be_there(tmp_path):
    transformers.ViTModel(tiny_models.config("vit", 1)).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"2 tensors are missing: classifier\.bias, classifier\.weight\n  fix: "):
        load_teacher(tmp_path, tiny_models.image_task(tmp_path))


def test_buffers_that_older_versions_saved_may_be_there(folder):
    change(folder, lambda tensors: tensors.update({"embeddings.position_ids": torch.arange(32)[None]}))
    load(folder)


def test_an_output_that_is_not_finite_is_refused(folder):
    configure(folder, layer_norm_eps=-1e9)
    with pytest.raises(ModelError) as caught:
        check_output(load(folder), tiny_models.text_task(folder), tiny_models.feeds("bert"), folder)
    assert caught.value.fact == "its sentence_embedding is NaN or infinite for 3 of the first 3 samples"
    assert caught.value.fix.startswith("check the numbers in config.json, such as a layer norm's epsilon")


def test_a_finite_output_passes(folder):
    check_output(load(folder), tiny_models.text_task(folder), tiny_models.feeds("bert"), folder)
