"""Mistakes in a model's JSON files are the model's: exit code 2, with the file and, where one is at fault, the key."""

from __future__ import annotations

import contextlib
import json
import shutil

import pytest
import tiny_models
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeattn.cli.main import run
from edgeattn.errors import ModelError
from edgeattn.models.checks import check_files
from edgeattn.models.reading import load_tokenizer
from edgeattn.models.teacher import check_output, load_teacher

INPUTS = ("input_ids", "attention_mask")


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A teacher's folder with nothing wrong; its tokenizer is in tokenizer.json alone."""
    folder = tmp_path_factory.mktemp("sound")
    tiny_models.make("bert", layers=1)[0].save_pretrained(folder)
    tiny_models.tokenizer(folder)
    (folder / "vocab.txt").unlink()
    return folder


@pytest.fixture
def folder(sound, tmp_path):
    return shutil.copytree(sound, tmp_path / "teacher")


def change(file, **keys):
    document = json.loads(file.read_text())
    file.write_text(json.dumps({**document, **keys}))


CONFIG = [
    ({"hidden_size": "wide"}, "hidden_size: expected int, got str (value: 'wide')", "hidden_size"),
    ({"hidden_size": 15}, "hidden_size: The hidden size (15) is not a multiple of the number of attention heads (2)",
     "hidden_size"),
    ({"vocab_size": -4}, "vocab_size: Trying to create tensor with negative dimension -4: [-4, 16]", "vocab_size"),
    ({"hidden_act": "golu"}, "hidden_act: there is no 'golu'", "hidden_act"),
    ({"num_hidden_layers": 2000}, "num_hidden_layers: a model of more than 10000 modules", "num_hidden_layers"),
    ({"id2label": "cat"}, "id2label: 'str' object has no attribute 'items'", "id2label"),
]  # fmt: skip


@pytest.mark.parametrize(("keys", "fact", "key"), CONFIG, ids=[next(iter(keys)) for keys, *_ in CONFIG])
def test_a_mistake_in_the_config(folder, capsys, keys, fact, key):
    change(folder / "config.json", **keys)
    with pytest.raises(ModelError) as caught:
        load_teacher(folder, tiny_models.text_task(folder))
    assert caught.value.fact == fact
    assert caught.value.where == str(folder / "config.json")
    assert caught.value.fix == f"correct {key}, or save the model again"
    assert run(["inspect", str(folder)]) == 2
    assert capsys.readouterr().err.startswith(f"error: {folder}/config.json: {fact}\n")


@pytest.mark.parametrize(
    ("model_type", "said"), [(None, "Unrecognized model in "), ("burt", "model type `burt` but Transformers does not")]
)
def test_no_or_an_unknown_model_type(folder, capsys, model_type, said):
    config = json.loads((folder / "config.json").read_text())
    del config["model_type"]
    (folder / "config.json").write_text(json.dumps(config if model_type is None else {**config, "model_type": "burt"}))
    assert run(["inspect", str(folder)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {folder}/config.json: ")
    assert said in error


TOKENIZER = [
    ("tokenizer.json", {"version": 3}, "version: invalid type: integer `3`, expected a string"),
    ("tokenizer.json", {"added_tokens": "abc"}, "'str' object has no attribute 'pop'"),
    ("tokenizer.json", {"model": {}}, "data did not match any variant of untagged enum ModelUntagged"),
    ("tokenizer_config.json", {"do_lower_case": "yes"}, "do_lower_case: 'str' object is not an instance of 'bool'"),
    ("tokenizer_config.json", {"cls_token": 7}, "cls_token: Special token cls_token has to be either str or Added"),
    ("tokenizer_config.json", {"pad_token": None}, "pad_token: Asking to pad but the tokenizer does not have a padd"),
    ("tokenizer_config.json", {"model_input_names": ["input_ids"]}, "model_input_names: there is no 'attention_mask'"),
]


@pytest.mark.parametrize(("name", "keys", "fact"), TOKENIZER, ids=[next(iter(keys)) for _, keys, _ in TOKENIZER])
def test_a_mistake_in_the_tokenizer(folder, name, keys, fact):
    change(folder / name, **keys)
    with pytest.raises(ModelError) as caught:
        load_tokenizer(folder, INPUTS)
    assert caught.value.fact.startswith(fact)
    assert caught.value.where == str(folder / name)
    assert caught.value.exit_code == 2


_JUNK = st.sampled_from([None, True, -1, 0, 3, 10**12, 1.5, -1e9, 1e308, float("nan"), "", "abc", [], [1, 2], {}])
_KEYS = st.sampled_from(
    ["model_type", "hidden_size", "num_attention_heads", "num_hidden_layers", "intermediate_size", "vocab_size",
     "max_position_embeddings", "type_vocab_size", "hidden_act", "layer_norm_eps", "initializer_range", "pad_token_id",
     "hidden_dropout_prob", "chunk_size_feed_forward", "is_decoder", "add_cross_attention", "torch_dtype", "dtype",
     "architectures", "quantization_config", "attn_implementation", "id2label", "num_labels", "rope_parameters",
     "output_hidden_states", "return_dict", "use_cache", "tie_word_embeddings", "edgeattn", "auto_map"]
)  # fmt: skip


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=_KEYS, value=_JUNK)
def test_any_value_of_any_key_is_taken_or_refused(sound, tmp_path, key, value):
    folder = tmp_path / "teacher"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(sound, folder)
    change(folder / "config.json", **{key: value})
    assert run(["inspect", str(folder), "--json"]) in (0, 2)
    with contextlib.suppress(ModelError):
        check_files(folder)
        task = tiny_models.text_task(folder)
        check_output(load_teacher(folder, task), task, tiny_models.feeds("bert"), folder)
