"""Where teachers come from. Files that are refused are in tests/attacks/test_model.py."""

from __future__ import annotations

import shutil
import sys

import pytest
import tiny_models
import torch

from edgeattn.errors import DeviceError, ModelError, RecipeError
from edgeattn.models.locate import locate
from edgeattn.models.teacher import fetch_teacher, load_teacher
from edgeattn.recipe.schema import PretrainedModel
from edgeattn.stages.learn import teacher_digest
from edgeattn.store import sha256_file


@pytest.fixture
def folder(tmp_path):
    """tmp_path/bert: a teacher's folder with a tokenizer."""
    tiny_models.make("bert", layers=2)[0].save_pretrained(tmp_path / "bert")
    return tiny_models.tokenizer(tmp_path / "bert")


def test_a_folder_beside_the_recipe(folder, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    digest = fetch_teacher(PretrainedModel(source="bert"), tmp_path, out)
    assert digest == sha256_file(folder / "model.safetensors") == sha256_file(out / "model.safetensors")
    task = tiny_models.text_task(out)
    model = load_teacher(out, task)
    assert not model.training
    expected, feeds = tiny_models.make("bert", layers=2)
    with torch.no_grad():
        assert torch.equal(model(**feeds).last_hidden_state, expected(**feeds).last_hidden_state)


def test_a_folder_outside_the_recipes_is_refused(folder, tmp_path):
    (tmp_path / "inner").mkdir()
    with pytest.raises(RecipeError, match=r"'\.\./bert' leads out of the recipe's folder"):
        locate(PretrainedModel(source="../bert"), tmp_path / "inner")


def test_a_folder_inside_an_installed_package(folder, tmp_path, monkeypatch):
    package = tmp_path / "site" / "tiny_teachers"
    shutil.copytree(folder, package / "model")
    (package / "__init__.py").write_text("raise SystemExit('a package is not imported to find its files')")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert locate(PretrainedModel(source="package:tiny_teachers/model"), tmp_path) == package / "model"
    assert "tiny_teachers" not in sys.modules


def test_a_package_that_is_not_installed(tmp_path):
    with pytest.raises(DeviceError) as caught:
        locate(PretrainedModel(source="package:no_such_teacher/model"), tmp_path)
    assert str(caught.value) == (
        "package:no_such_teacher/model: the package no_such_teacher is not installed\n"
        "  fix: pip install no-such-teacher"
    )
    assert caught.value.exit_code == 4


HUB = """
import sys
from pathlib import Path
from edgeattn.errors import EdgeattnError
from edgeattn.models.locate import locate
from edgeattn.recipe.schema import PretrainedModel
try:
    print(locate(PretrainedModel(source=sys.argv[1], revision=sys.argv[2] or None), Path.cwd()))
except EdgeattnError as error:
    print(error)
    sys.exit(error.exit_code)
"""


def hub(tmp_path, monkeypatch, source, revision=""):
    """locate() in a process of its own: huggingface_hub reads its environment once."""
    import subprocess

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    return subprocess.run(
        [sys.executable, "-c", HUB, source, revision], capture_output=True, text=True, check=False, timeout=120
    )


def test_a_hub_model_without_network_or_cache(tmp_path, monkeypatch):
    done = hub(tmp_path, monkeypatch, "hub:org/name")
    assert done.returncode == 4, done.stderr
    assert done.stdout == (
        "hub:org/name: the hub cannot be reached and the model is not in its cache\n"
        "  fix: go online once, or give a local folder as model.source\n"
    )


def test_a_hub_model_from_the_hubs_cache(folder, tmp_path, monkeypatch):
    commit = "0" * 40
    cache = tmp_path / "hf" / "hub" / "models--org--name"
    shutil.copytree(folder, cache / "snapshots" / commit)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(commit)
    done = hub(tmp_path, monkeypatch, "hub:org/name", "main")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(cache / "snapshots" / commit)


def test_the_store_sees_a_change_of_any_of_its_files(folder, tmp_path):
    from types import SimpleNamespace

    recipe = SimpleNamespace(model=PretrainedModel(source="bert"))
    seen = {teacher_digest(recipe, tmp_path)}
    for name in ("config.json", "tokenizer.json"):
        file = folder / name
        file.write_text(file.read_text() + "\n")
        seen.add(teacher_digest(recipe, tmp_path))
    assert len(seen) == 3


def test_extend_positions_copies_them_over_and_over(folder, tmp_path):
    task = tiny_models.text_task(folder)
    short, long = load_teacher(folder, task), load_teacher(folder, task, extend_positions=80)
    table, longer = (model.embeddings.position_embeddings.weight for model in (short, long))
    assert longer.shape == (80, tiny_models.WIDTH)
    for place in range(80):
        assert torch.equal(longer[place], table[place % 32])
    assert long.config.max_position_embeddings == 80
    feeds = tiny_models.feeds("bert")
    with torch.no_grad():
        assert torch.equal(long(**feeds).last_hidden_state, short(**feeds).last_hidden_state)
        assert long(**tiny_models.feeds("bert", lengths=(70, 3))).last_hidden_state.shape == (2, 70, 16)


def test_extend_positions_to_less_changes_nothing(folder):
    model = load_teacher(folder, tiny_models.text_task(folder), extend_positions=8)
    assert model.config.max_position_embeddings == 32


def test_extend_positions_of_a_model_without_positions(tmp_path):
    tiny_models.make("vit", layers=1)[0].save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="ViTForImageClassification has no learned position embeddings to extend"):
        load_teacher(tmp_path, tiny_models.image_task(tmp_path), extend_positions=64)
