"""Weights in several files: read like one, checked like one, with one digest."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess

import pytest
import tiny_models
import torch
from safetensors.torch import load_file, save_file

from edgeattn.errors import ModelError
from edgeattn.models.checks import check_folder
from edgeattn.models.files import INDEX, model_files, weight_files, weights_digest
from edgeattn.models.teacher import fetch_teacher, load_teacher
from edgeattn.recipe.schema import PretrainedModel


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sharded")
    tiny_models.make("bert", layers=2)[0].save_pretrained(folder, max_shard_size="8KB")
    return tiny_models.tokenizer(folder)


@pytest.fixture
def folder(sound, tmp_path):
    return shutil.copytree(sound, tmp_path / "teacher")


def refused(folder, message):
    with pytest.raises(ModelError, match=message) as caught:
        check_folder(folder)
    assert caught.value.exit_code == 2


def test_a_sharded_teacher_is_fetched_and_loaded(folder, tmp_path):
    assert not (folder / "model.safetensors").exists()
    assert len(weight_files(folder)) > 2
    (tmp_path / "out").mkdir()
    digest = fetch_teacher(PretrainedModel(source="teacher"), tmp_path, tmp_path / "out")
    assert digest == weights_digest(weight_files(tmp_path / "out"))
    assert {path.name for path in model_files(folder)} == {path.name for path in (tmp_path / "out").iterdir()}
    model = load_teacher(tmp_path / "out", tiny_models.text_task(tmp_path / "out"))
    expected, feeds = tiny_models.make("bert", layers=2)
    with torch.no_grad():
        assert torch.equal(model(**feeds).last_hidden_state, expected(**feeds).last_hidden_state)


def test_the_digest_is_what_standard_tools_say(folder):
    names = sorted(path.name for path in folder.glob("model-*.safetensors"))
    lines = subprocess.run(["sha256sum", *names], cwd=folder, capture_output=True, check=True).stdout
    assert weights_digest(weight_files(folder)) == f"sha256:{hashlib.sha256(lines).hexdigest()}"


def test_a_change_of_a_shard_changes_the_digest(folder, tmp_path):
    before = weights_digest(weight_files(folder))
    shard = weight_files(folder)[1]
    tensors = load_file(shard)
    save_file({name: x + 1 for name, x in tensors.items()}, shard, metadata={"format": "pt"})
    (tmp_path / "out").mkdir()
    with pytest.raises(ModelError, match=r"digest mismatch: the recipe says sha256:.*, the weights are sha256:"):
        fetch_teacher(PretrainedModel(source="teacher", digest=before), tmp_path, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_missing_and_a_truncated_shard(folder):
    shard = weight_files(folder)[1]
    content = shard.read_bytes()
    shard.write_bytes(content[:-10])
    refused(folder, rf"{shard.name}: not a valid safetensors file: incomplete metadata")
    shard.unlink()
    refused(folder, rf"teacher: the shard {shard.name} is missing\n  fix: copy or download the model again")


def test_a_shard_that_is_not_finite(folder):
    shard = weight_files(folder)[-1]
    tensors = load_file(shard)
    name = min(tensors)
    save_file({**tensors, name: torch.full_like(tensors[name], torch.nan)}, shard, metadata={"format": "pt"})
    refused(folder, rf"{shard.name}: tensor '{re.escape(name)}' holds \d+ NaN or infinite of")


def rewrite(folder, change):
    index = json.loads((folder / INDEX).read_text())
    change(index["weight_map"])
    (folder / INDEX).write_text(json.dumps(index))


@pytest.mark.parametrize("name", ["../other.safetensors", "/etc/x.safetensors", "model.bin", ".x.safetensors", 3, None])
def test_an_index_names_only_safetensors_files_beside_it(folder, name):
    rewrite(folder, lambda places: places.update({"pooler.dense.bias": name}))
    refused(folder, rf"weight_map: tensor 'pooler\.dense\.bias' is in {name!r}, not in a \.safetensors file beside")


@pytest.mark.parametrize("index", ["{", "[]", '{"weight_map": 3}', '{"weight_map": {}}', "{}"])
def test_a_broken_index(folder, index):
    (folder / INDEX).write_text(index)
    refused(folder, r"index\.json: (not JSON|not a JSON object|weight_map: not a map from tensors to files)")


def test_an_index_and_shards_that_do_not_agree(folder):
    rewrite(folder, lambda places: places.pop("pooler.dense.bias"))
    refused(folder, r"tensor 'pooler\.dense\.bias' of model-.*\.safetensors is not in the index")


def test_an_index_of_a_tensor_that_no_shard_has(folder):
    rewrite(folder, lambda places: places.update({"more": min(places.values())}))
    refused(folder, r"tensor 'more' is not in model-00001-of-.*\n  fix: copy or download the model again")
