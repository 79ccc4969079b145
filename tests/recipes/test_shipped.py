"""Every recipe that ships loads, and is the same after a round trip through its document."""

from __future__ import annotations

import pytest
import yaml

from edgeattn.recipe import load_recipe, shipped_recipes, to_document

every_recipe = pytest.mark.parametrize("name", list(shipped_recipes()))


def test_there_are_some():
    assert {"digits-vit", "minilm-hedgehog"} <= set(shipped_recipes())


@every_recipe
def test_a_shipped_recipe_loads(name):
    loaded = load_recipe(name)
    assert loaded.recipe.name == name
    assert loaded.recipe.description
    assert loaded.file == shipped_recipes()[name]


@every_recipe
def test_a_shipped_recipe_round_trips(name, tmp_path):
    recipe = load_recipe(name).recipe
    document = to_document(recipe)
    file = tmp_path / f"{name}.yaml"
    file.write_text(yaml.safe_dump(document))
    again = load_recipe(str(file)).recipe
    assert again == recipe
    assert to_document(again) == document


@every_recipe
def test_a_shipped_recipe_needs_nothing_beside_it(name):
    """Found by name from any folder, shipped recipes name no files; weights from a package are pinned."""
    recipe = load_recipe(name).recipe
    for source in (recipe.data.train.source, recipe.data.eval.source):
        assert source.startswith(("builtin:", "hub:"))
    if (source := getattr(recipe.model, "source", None)) is not None:
        assert source.startswith(("package:", "hub:"))
        assert recipe.model.digest
