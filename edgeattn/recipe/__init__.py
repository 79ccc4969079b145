"""Recipes: their schema, and the reader, whose errors have file, line, key and remedy."""

from __future__ import annotations

from edgeattn.recipe.reader import LoadedRecipe, find_recipe, load_recipe, read_yaml, shipped_recipes, to_document
from edgeattn.recipe.references import inside
from edgeattn.recipe.schema import SCHEMA_VERSION, Recipe
from edgeattn.yamlfile import Positions

__all__ = [
    "SCHEMA_VERSION",
    "LoadedRecipe",
    "Positions",
    "Recipe",
    "find_recipe",
    "inside",
    "load_recipe",
    "read_yaml",
    "shipped_recipes",
    "to_document",
]
