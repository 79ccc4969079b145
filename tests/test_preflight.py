"""What a compile would refuse is found before anything is trained, with file, line, key and remedy."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import datasets
import numpy as np
import pytest
import tiny_models
import transformers

from edgeattn.bundle import check_out
from edgeattn.cli.main import run
from edgeattn.devices import load_device
from edgeattn.errors import BundleError, DataError, InputError, ModelError, RecipeError, ResourceError
from edgeattn.preflight import preflight
from edgeattn.recipe import load_recipe

TEXTS = """\
schema: 1
name: texts
description: A tiny teacher of texts
model: {source: teacher}
task: {kind: text-embedding, max_length: 16}
data:
  train: {source: train.txt}
  eval: {source: pairs.jsonl}
attention:
  - {layers: [0], variant: hedgehog, options: {feature_dim: 4}}
  - {layers: [2], variant: sliding_window, options: {window: 4}}
bench: {lengths: [16]}
"""
DIGITS = """\
schema: 1
name: digits
description: A tiny ViT
model: {architecture: vit, image_size: 8, patch_size: 2, channels: 1, hidden_size: 16, layers: 2, heads: 2}
task: {kind: image-classification, labels: 10}
data:
  train: {source: "builtin:digits", limit: 40}
  eval: {source: "builtin:digits", split: test, limit: 20}
attention:
  - {layers: all, variant: hedgehog}
"""


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A BERT of three layers that takes 32 tokens."""
    folder = tmp_path_factory.mktemp("made") / "teacher"
    tiny_models.make("bert", layers=3)[0].save_pretrained(folder)
    tiny_models.tokenizer(folder)
    return folder


@pytest.fixture
def folder(teacher, tmp_path, monkeypatch):
    """A folder with all that TEXTS names."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")
    shutil.copytree(teacher, tmp_path / "teacher")
    (tmp_path / "train.txt").write_text("\n".join(tiny_models.sentences(12)))
    write_pairs(tmp_path)
    scored = [{"text": text, "value": i} for i, text in enumerate(tiny_models.sentences(4))]
    (tmp_path / "scored.jsonl").write_text("\n".join(map(json.dumps, scored)))
    return tmp_path


def write_pairs(folder, **change):
    texts = tiny_models.sentences(12, seed=1)
    rows = [
        {"text": a, "text_pair": b, "score": i} for i, (a, b) in enumerate(zip(texts[::2], texts[1::2], strict=True))
    ]
    rows[3] |= change
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def checked(folder, text, *changes):
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    (folder / "recipe.yaml").write_text(text)
    loaded = load_recipe(str(folder / "recipe.yaml"))
    return preflight(loaded.recipe, loaded.root, loaded.positions, load_device("cpu"))


def refusal(folder, text, *changes):
    with pytest.raises(InputError) as caught:
        checked(folder, text, *changes)
    assert caught.value.exit_code == 2
    return type(caught.value), str(caught.value).replace(f"{folder}/", "")


def test_a_sound_recipe_passes_with_its_facts(folder):
    assert checked(folder, TEXTS) == {"layers": 3, "tokens": 32, "train": 12, "eval": 6, "unchecked": []}
    assert checked(folder, DIGITS) == {"layers": 2, "tokens": None, "train": 40, "eval": 20, "unchecked": []}


CASES = [
    # the model
    (("[2]", "[1, 3, 4]"), "recipe.yaml:11: attention[1].layers: layers 3, 4 do not exist: the model has 3 attention "
     "layers, 0 to 2\n  fix: name layers up to 2"),
    (("[2]", "2-3"), "recipe.yaml:11: attention[1].layers: layer 3 does not exist: the model has 3 attention layers"),
    (("hedgehog, options: {feature_dim: 4}", "gated_delta"),
     "recipe.yaml:10: attention[0]: layer 0 (encoder.layer.0.attention.self): gated_delta is causal, and this lay"),
    (("bench:", "reduce: [{layers: [5], reducer: token_merging, options: {r: 2}}]\nbench:"),
     "recipe.yaml:12: reduce[0].layers: layer 5 does not exist"),
    (("[16]", "[16, 64]"), "recipe.yaml:12: bench.lengths: 64 tokens are more than the 32 that the model takes\n"
     "  fix: use at most that many, or model.extend_positions"),
    (("bench:", "export: {buckets: [8, 33]}\nbench:"), "recipe.yaml:12: export.buckets: 33 tokens are more than the"),
    (("max_length: 16", "max_length: 33"), "recipe.yaml:5: task.max_length: 33 tokens are more than the 32"),
    (("bench:", "distill: {max_length: 40}\nbench:"), "recipe.yaml:12: distill.max_length: 40 tokens are more than"),
    (("teacher}", f"teacher, digest: sha256:{'0' * 64}}}"),
     f"recipe.yaml:4: model.digest: teacher: digest mismatch: the recipe says sha256:{'0' * 64}, the"),
    # the target
    (("bench:", "export: {opset: 26}\nbench:"),
     "recipe.yaml:12: export.opset: opset 26 is not one that cpu runs\n  fix: use 17 to 21"),
    # the data
    (("pairs.jsonl}", "pairs.jsonl, columns: {text: sentence}}"),
     "recipe.yaml:8: data.eval.source: pairs.jsonl: no column 'sentence' for text\n  fix: "),
    (("eval: {source: pairs.jsonl}\n", "eval: {source: train.txt}\naccept: {metric: spearman}\n"),
     "recipe.yaml:9: accept.metric: spearman needs pairs and scores, and the held-out data has none\n"
     "  fix: known: teacher_cosine, teacher_top10_overlap"),
    (("pairs.jsonl}", "scored.jsonl, columns: {score: value}}"),
     "recipe.yaml:8: data.eval.columns.score: a score is of two texts, and there is no text_pair\n  fix: name"),
    (("pairs.jsonl}", "train.txt}"),
     "recipe.yaml:7: data.train.source: all 12 training samples are held out too, and int8 needs others to calibrate\n"
     "  fix: give other training data, or quantize.methods that need no calibration"),
    (("pairs.jsonl}", "pairs.jsonl, limit: 1}"),
     "recipe.yaml:8: data.eval.source: 2 samples have too few nearest neighbours\n  fix: evaluate on at least 3"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "said"), CASES)
def test_what_a_compile_would_refuse_is_found(folder, change, said):
    kind, text = refusal(folder, TEXTS, change)
    assert text.startswith(said)
    assert "\n  fix: " in text
    assert kind in (RecipeError, ModelError, DataError)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("channels: 1, ", ""), "recipe.yaml:4: model.channels: 3 channels, and the images have 1\n  fix: use 1"),
        (("image_size: 8", "image_size: 10"),
         "recipe.yaml:4: model.image_size: 10 x 10 pixels, and the images have 8 x 8\n  fix: use 8"),
        (("hidden_size: 16", "hidden_size: 100000"), "recipe.yaml:4: model: training it takes 1280.9 GB, and this"),
        (("labels: 10", "labels: 5"), "recipe.yaml: 2 errors\n  recipe.yaml:7: data.train.source: builtin:digits, row"),
        (("attention:", "bench: {lengths: [64]}\nattention:"), "recipe.yaml:9: bench.lengths: the inputs of the mod"),
        (("attention:", "export: {buckets: [64]}\nattention:"), "recipe.yaml:9: export.buckets: the inputs of the mod"),
        (("  - {layers: all, variant: hedgehog}\n", "  - {layers: [1], variant: window_2d, options: {window: 2, "
          "grid_width: 4}}\nreduce:\n  - {layers: [0], reducer: token_merging, options: {r: 2}}\n"),
         "recipe.yaml:11: reduce: "),
    ],
)  # fmt: skip
def test_what_a_new_teachers_compile_would_refuse_is_found(folder, change, said):
    assert refusal(folder, DIGITS, change)[1].startswith(said)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"score": float("nan")}, "row 4: score is the number nan, not a finite number\n  fix: give a finite number"),
        ({"score": float("inf")}, "row 4: score is the number inf, not a finite number\n"),
        ({"score": "high"}, "row 4: score is the text 'high', not a finite number\n"),
        (
            {"text": {"a": 1}},
            "row 4: text is a mapping, not a text\n  fix: give a text in every row, or remove the row",
        ),
        ({"text_pair": 5}, "row 4: text_pair is the number 5, not a text\n"),
        ({"text": " "}, "row 4: text is blank\n"),
    ],
)
def test_the_data_is_checked_whole(folder, change, said):
    write_pairs(folder, **change)
    kind, text = refusal(folder, TEXTS)
    assert (kind, text.startswith(f"recipe.yaml:8: data.eval.source: pairs.jsonl, {said}")) == (DataError, True), text


def test_images_are_checked_whole(folder):
    images = np.zeros((4, 1, 8, 8)).tolist()
    images[2][0][3][5] = float("nan")
    rows = [{"image": image, "label": label} for image, label in zip(images, (0, 1, 0.5, 1), strict=True)]
    (folder / "images.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = refusal(folder, DIGITS, ('"builtin:digits", limit: 40', "images.jsonl"))[1]
    assert text.startswith("recipe.yaml:7: data.train.source: images.jsonl, row 3: image holds a value that is not a f")
    images[2][0][3][5] = 0.0
    rows = [{"image": image, "label": label} for image, label in zip(images, (0, 1, 0.5, 1), strict=True)]
    (folder / "images.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = refusal(folder, DIGITS, ('"builtin:digits", limit: 40', "images.jsonl"))[1]
    assert text.startswith(
        "recipe.yaml:7: data.train.source: images.jsonl, row 3: label is the number 0.5, not a whole"
    )


def test_a_metric_without_a_value_is_found(folder):
    texts = tiny_models.sentences(8, seed=1)
    rows = [{"text": a, "text_pair": b, "score": 1} for a, b in zip(texts[::2], texts[1::2], strict=True)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = refusal(folder, TEXTS)[1]
    assert text.startswith(
        "recipe.yaml:1: accept.metric: spearman has no value on the held-out data: all of its scores"
    )


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (None, "no tokenizer\n  fix: save the tokenizer beside the model"),
        ("config.json", "no config.json"),
        ("model.safetensors", "no model.safetensors"),
    ],
)
def test_a_teachers_missing_files_are_found(folder, file, said):
    names = (
        ["tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"] if file is None else [file]
    )
    for name in names:
        (folder / "teacher" / name).unlink(missing_ok=True)
    kind, text = refusal(folder, TEXTS)
    assert kind is ModelError
    assert text.startswith("recipe.yaml:4: model.source: teacher: " + said)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        (
            "hidden_size",
            "x",
            "/config.json: hidden_size: expected int, got str (value: 'x')\n  fix: correct",
        ),
        ("num_hidden_layers", 2, ": its weights do not fit its config.json: 16 tensors are without a place in the mo"),
        ("layer_norm_eps", float("nan"), "/config.json: layer_norm_eps is NaN\n  fix: give it a number"),
        ("layer_norm_eps", -1e9, ": its sentence_embedding is NaN or infinite for 2 of the first 2 samples\n  fix: ch"),
    ],
)
def test_a_config_that_does_not_fit_the_teacher_is_found_and_said_once(folder, key, value, said):
    config = json.loads((folder / "teacher" / "config.json").read_text())
    (folder / "teacher" / "config.json").write_text(json.dumps({**config, key: value}))
    kind, text = refusal(folder, TEXTS)
    assert kind is ModelError
    assert text.startswith("recipe.yaml:4: model.source: teacher" + said)


def test_a_tokenizer_of_another_model_is_found(folder):
    vocabulary = folder / "teacher" / "vocab.txt"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(60)), *"abcdefghijklmnopqrstuvwxyz"]
    vocabulary.write_text("\n".join(words))
    transformers.BertTokenizerFast(vocab=str(vocabulary)).save_pretrained(folder / "teacher")
    kind, text = refusal(folder, TEXTS)
    assert "its tokenizer gives the token 90, and the model has 48 tokens\n  fix: give the tokenizer that the" in text
    assert kind is ModelError


def test_all_findings_are_listed_at_once_in_the_order_of_their_lines(folder):
    write_pairs(folder, score=float("nan"))
    kind, text = refusal(folder, TEXTS, ("[2]", "[7]"), ("[16]", "[99]"), ("bench:", "export: {opset: 25}\nbench:"))
    assert kind is InputError  # of the data and of the recipe
    lines = [line.split(": ")[:2] for line in text.splitlines() if line.startswith("  recipe")]
    assert lines == [
        ["  recipe.yaml:8", "data.eval.source"], ["  recipe.yaml:11", "attention[1].layers"],
        ["  recipe.yaml:12", "export.opset"], ["  recipe.yaml:13", "bench.lengths"],
    ]  # fmt: skip


def test_the_hub_is_not_asked_and_what_was_not_checked_is_said(folder, monkeypatch, capsys):
    monkeypatch.setenv("HF_HUB_CACHE", str(folder / "hub"))
    text = TEXTS.replace("teacher}", "hub:org/model}").replace("train.txt", "hub:org/data")
    (folder / "recipe.yaml").write_text(text)
    assert run(["recipes", "check", str(folder / "recipe.yaml")]) == 0
    out = capsys.readouterr().out
    assert "recipe.yaml: the recipe texts is valid for cpu\n" in out
    assert "not checked: hub:org/model is not in the hub's cache: its layers, positions and tokenizer\n" in out
    assert "not checked: hub:org/data is not downloaded: columns and values of data.train\n" in out


def test_recipes_check_says_what_compile_would(folder, monkeypatch, capsys):
    """One check, before anything is written: not even the cache is made."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("EDGEATTN_CACHE", str(folder / "cache"))
    (folder / "recipe.yaml").write_text(TEXTS.replace("[2]", "[7]"))
    said = []
    for command in (["recipes", "check", "recipe.yaml", "--target", "cpu"], ["compile", "recipe.yaml"]):
        assert run(command) == 2
        said.append(re.search(r"^error: (.|\n)*", capsys.readouterr().err, re.MULTILINE)[0])
    assert said[0] == said[1]
    assert said[0].startswith("error: recipe.yaml:11: attention[1].layers: layer 7 does not exist: the model has 3")
    assert not (folder / "bundles").exists()


# --- --out --------------------------------------------------------------------------------------------------


def test_an_out_that_cannot_be_written_is_found(tmp_path):
    check_out(tmp_path / "new" / "deeper" / "bundle")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("precious")
    with pytest.raises(BundleError, match=r"file/bundle: .*/file is not a folder\n  fix: choose another --out"):
        check_out(tmp_path / "file" / "bundle")
    with pytest.raises(BundleError, match="exists and is not a folder"):
        check_out(tmp_path / "file")
    with pytest.raises(ResourceError, match=r"^/proc/bundle: cannot be written: .+\n  fix: choose another --out"):
        check_out(Path("/proc/bundle"))


def test_a_classifier_and_its_data_must_fit_the_recipe(folder):
    model = tiny_models.make("bert", layers=3, head="BertForSequenceClassification", num_labels=3)[0]
    model.save_pretrained(folder / "teacher")
    texts = tiny_models.sentences(12, seed=1)
    (folder / "labels.jsonl").write_text(
        "".join(json.dumps({"text": text, "label": i % 2}) + "\n" for i, text in enumerate(texts))
    )
    text = TEXTS.replace("text-embedding", "text-classification, labels: 3").replace("pairs.jsonl", "labels.jsonl")
    assert checked(folder, text)["eval"] == 12
    said = refusal(folder, text, ("labels: 3", "labels: 2"))[1]
    assert said.startswith("recipe.yaml:5: task.labels: 2 labels, and the model has 3\n  fix: use 3")
    said = refusal(folder, text, ("labels.jsonl", "train.txt"))[1]
    assert said.startswith("recipe.yaml:8: data.eval.source: train.txt: no column 'label'")


def test_a_language_model_is_a_decoder(folder):
    text = TEXTS.replace("text-embedding", "text-generation").replace("pairs.jsonl", "eval.txt")
    (folder / "eval.txt").write_text("\n".join(tiny_models.sentences(12, seed=1)))
    tiny_models.make("bert", layers=3, head="BertLMHeadModel")[0].save_pretrained(folder / "teacher")
    said = refusal(folder, text, ("x", "x"))[1]
    assert said.startswith("recipe.yaml:4: model.source: BertLMHeadModel is no causal language model")
    tiny_models.make("llama", layers=3, head="LlamaForCausalLM")[0].save_pretrained(folder / "teacher")
    assert checked(folder, text)["layers"] == 3
