"""Unsafe and damaged model folders: refused before anything is loaded or allocated, exit code 2."""

from __future__ import annotations

import json
import resource
import struct
from pathlib import Path

import numpy as np
import pytest
import tiny_models
import torch
from safetensors.torch import load_file, save_file

from edgeattn.cli.main import run
from edgeattn.errors import ModelError
from edgeattn.models.checks import check_folder
from edgeattn.models.teacher import fetch_teacher
from edgeattn.recipe.schema import PretrainedModel

RECIPE = """\
schema: 1
name: attacked
description: A teacher from a folder
model: {source: teacher}
task: {kind: text-embedding, max_length: 16}
data:
  train: {source: texts.txt, columns: {text: text}}
  eval: {source: texts.txt, columns: {text: text}}
attention:
  - {layers: all, variant: hedgehog}
"""


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A teacher's folder with nothing wrong."""
    folder = tmp_path_factory.mktemp("sound")
    tiny_models.make("bert", layers=1)[0].save_pretrained(folder)
    tiny_models.tokenizer(folder)
    return folder


@pytest.fixture
def teacher(sound, tmp_path):
    folder = tmp_path / "teacher"
    folder.mkdir()
    for file in sound.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def refused(folder: Path, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        check_folder(folder)
    assert caught.value.exit_code == 2


def rewrite(folder: Path, change) -> None:
    """The weights with another header."""
    file = folder / "model.safetensors"
    whole = file.read_bytes()
    (length,) = struct.unpack("<Q", whole[:8])
    header = json.loads(whole[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + whole[8 + length :])


def first(header: dict) -> tuple[str, dict]:
    return min(
        ((name, entry) for name, entry in header.items() if name != "__metadata__"), key=lambda x: x[1]["data_offsets"]
    )


def test_a_sound_folder_passes(teacher):
    check_folder(teacher)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.ckpt"])
def test_pickle_weights_are_refused_without_a_fallback(teacher, name):
    (teacher / "model.safetensors").rename(teacher / name)
    refused(teacher, rf"^.*teacher: {name} is a pickle, which can run code when it is loaded; weights must be model\.")


def test_a_pickle_is_refused_by_the_command_and_nothing_is_written(teacher, tmp_path, monkeypatch, capsys):
    (teacher / "model.safetensors").rename(teacher / "pytorch_model.bin")
    (tmp_path / "attacked.yaml").write_text(RECIPE)
    (tmp_path / "texts.txt").write_text("a b c\nd e f\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEATTN_CACHE", str(tmp_path / "cache"))
    before = sorted(tmp_path.rglob("*"))
    assert run(["compile", "attacked.yaml"]) == 2
    assert "pytorch_model.bin is a pickle" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_no_weights_and_no_folder(teacher):
    (teacher / "model.safetensors").unlink()
    refused(
        teacher, r"teacher: no model\.safetensors, and no model\.safetensors\.index\.json with its shards\n  fix: save"
    )
    refused(teacher / "nowhere", "nowhere: no such model folder")


INVALID = r"model\.safetensors: not a valid safetensors file: "


@pytest.mark.parametrize("kept", [0, 5])
def test_a_file_cut_off_in_its_prefix(teacher, kept):
    file = teacher / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    refused(teacher, INVALID + r"header too small\n  fix: copy or download it again")


def test_a_file_cut_off_in_a_tensor(teacher):
    file = teacher / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    refused(teacher, INVALID + r"incomplete metadata, file not fully covered\n  fix: copy or download it again")


@pytest.mark.parametrize(
    ("claimed", "said"),
    [(2**63, "header too large"), (200 * 2**20, "header too large"), (5000, "invalid header length")],
)
def test_a_header_larger_than_the_file(teacher, claimed, said):
    file = teacher / "model.safetensors"
    file.write_bytes(struct.pack("<Q", claimed) + b"{}" * 100)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(teacher, INVALID + said)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB


@pytest.mark.parametrize("content", [b"not json at all", b"\xff\xfe\x00", b"[" * 100_000, b"[1, 2]", b'"text"'])
def test_a_header_that_is_not_a_json_object(teacher, content):
    (teacher / "model.safetensors").write_bytes(struct.pack("<Q", len(content)) + content)
    refused(teacher, INVALID + r"invalid (JSON|UTF-8) in header")


def test_tensors_that_overlap(teacher):
    def overlap(header):
        header["second"] = {**first(header)[1]}

    rewrite(teacher, overlap)
    refused(teacher, INVALID + "invalid offset for tensor `")


def test_a_tensor_of_a_wrong_size(teacher):
    def widen(header):
        first(header)[1]["shape"] = [1_000_000, 1_000_000]

    rewrite(teacher, widen)
    refused(teacher, INVALID + "invalid shape, data type, or offset for tensor")


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F99"}, {"shape": None}, {"shape": ["x"]}, {"data_offsets": [0]}, {"data_offsets": [-8, 0]},
        {"data_offsets": ["0", "8"]}, {"shape": [-2, -2]}, None,
    ],
)  # fmt: skip
def test_a_tensor_described_wrongly(teacher, entry):
    def spoil(header):
        name, found = first(header)
        header[name] = entry and {**found, **entry}

    rewrite(teacher, spoil)
    refused(teacher, INVALID + "invalid JSON in header: ")


@pytest.mark.parametrize("key", ["auto_map", "custom_pipelines"])
def test_remote_code_is_refused(teacher, key):
    config = json.loads((teacher / "config.json").read_text())
    (teacher / "config.json").write_text(json.dumps({**config, key: {"AutoModel": "evil.Model"}}))
    refused(teacher, rf"config\.json: {key} asks to run code that came with the model\n  fix: remove {key}")


def test_code_beside_the_weights_is_not_copied(teacher, tmp_path):
    (teacher / "modeling_evil.py").write_text("raise SystemExit")
    (tmp_path / "out").mkdir()
    fetch_teacher(PretrainedModel(source="teacher"), tmp_path, tmp_path / "out")
    assert "modeling_evil.py" not in {path.name for path in (tmp_path / "out").iterdir()}
    assert (tmp_path / "out" / "tokenizer.json").is_file()


@pytest.mark.parametrize("content", ["", "{", "[1]", "\x80", "[" * 100_000])
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"])
def test_a_file_that_is_not_json_is_refused(teacher, content, name):
    (teacher / name).write_bytes(content.encode("latin-1"))
    refused(teacher, rf"/{name}: not (JSON: .*|a JSON object)\n  fix: save or download it again")


def test_nan_in_a_config_is_refused_by_its_key(teacher):
    config = json.loads((teacher / "config.json").read_text())
    nan = {**config, "layer_norm_eps": float("nan")}
    (teacher / "config.json").write_text(json.dumps(nan))
    refused(teacher, r"config\.json: layer_norm_eps is NaN\n  fix: give it a number")
    (teacher / "config.json").write_text(json.dumps({**config, "limits": [0.0, float("inf")]}))
    check_folder(teacher)


@pytest.mark.parametrize("change", [{"num_hidden_layers": 10**12}, {"text_config": {"n_layer": 10**12}}])
def test_a_config_of_absurdly_many_layers_is_refused_before_it_is_built(teacher, change):
    config = json.loads((teacher / "config.json").read_text())
    (teacher / "config.json").write_text(json.dumps({**config, **change}))
    refused(teacher, r"config\.json: (num_hidden_layers|n_layer) is 1000000000000\n  fix: correct")


def test_a_digest_mismatch_names_both(teacher, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    digest = fetch_teacher(PretrainedModel(source="teacher"), tmp_path, out)
    wrong = f"sha256:{'0' * 64}"
    (tmp_path / "second").mkdir()
    with pytest.raises(ModelError) as caught:
        fetch_teacher(PretrainedModel(source="teacher", digest=wrong), tmp_path, tmp_path / "second")
    assert caught.value.fact == f"digest mismatch: the recipe says {wrong}, the weights are {digest}"
    assert list((tmp_path / "second").iterdir()) == []


def test_the_links_of_a_hub_cache_are_followed_and_their_files_copied(sound, tmp_path):
    folder, out = tmp_path / "teacher", tmp_path / "out"
    folder.mkdir()
    out.mkdir()
    for file in sound.iterdir():
        (folder / file.name).symlink_to(file)
    fetch_teacher(PretrainedModel(source="teacher"), tmp_path, out)
    assert not any(path.is_symlink() for path in out.iterdir())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_tensor_that_is_not_finite_is_named(teacher, value):
    file = teacher / "model.safetensors"
    tensors = load_file(file)
    name = "encoder.layer.0.output.dense.weight"
    tensors[name] = tensors[name].clone()
    tensors[name][1, 2] = value
    save_file(tensors, file, metadata={"format": "pt"})
    refused(teacher, rf"tensor '{name}' holds 1 NaN or infinite of {tensors[name].numel()} values")


def test_whole_numbers_and_bfloat16_are_checked_too(teacher):
    save_file(
        {"ids": torch.arange(3), "half": torch.ones(2, dtype=torch.bfloat16)}, teacher / "model.safetensors",
        metadata={"format": "pt"},
    )  # fmt: skip
    check_folder(teacher)
