"""Reads a recipe's file into a typed, checked, frozen recipe. Every error has file, line and a remedy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeattn import __version__, yamlfile
from edgeattn.errors import RecipeError
from edgeattn.recipe import consistency, references
from edgeattn.recipe.schema import SCHEMA_VERSION, Recipe
from edgeattn.registry import did_you_mean
from edgeattn.shipped import shipped
from edgeattn.validation import combined, validate
from edgeattn.yamlfile import Positions


@dataclass(frozen=True)
class LoadedRecipe:
    """A recipe, and its file."""

    recipe: Recipe
    file: Path
    root: Path  # the folder that the file names in the recipe are relative to
    positions: Positions  # of its values in the file


def read_yaml(path: Path) -> tuple[Any, Positions]:
    """`edgeattn.yamlfile.read_yaml` with RecipeError."""
    return yamlfile.read_yaml(path, error=RecipeError)


def shipped_recipes() -> dict[str, Path]:
    """The recipes that ship with edgeattn, name -> file, sorted by name."""
    return {path.stem: path for path in sorted(shipped("recipes").glob("*.yaml"))}


def find_recipe(ref: str) -> Path:
    """The file that `ref` means: a path to a .yaml or .yml file, or the name of a shipped recipe.

    Raises RecipeError, naming the nearest shipped recipe, if there is none of that name.
    """
    if ref.endswith((".yaml", ".yml")):
        return Path(ref)
    known = shipped_recipes()
    if ref not in known:
        fix = f"{did_you_mean(ref, list(known))}; or give the path of a .yaml file"
        raise RecipeError(f"no recipe is called {ref!r}", fix=fix)
    return known[ref]


def load_recipe(ref: str, *, root: Path | None = None) -> LoadedRecipe:
    """The recipe that `ref` means (see `find_recipe`), with all of its keys checked.

    root: the folder that file names in the recipe start from and may not leave; the recipe's own if None.
    Raises RecipeError, which lists every finding with file, line, key and remedy.
    """
    file = find_recipe(ref)
    document, positions = read_yaml(file)
    if not isinstance(document, dict):
        fix = "begin with `edgeattn recipes new`"
        raise RecipeError("is not a mapping of keys to values", where=positions.where(), fix=fix)
    _check_version(document.get("schema"), positions)
    recipe = validate(Recipe, document, positions, error=RecipeError)
    root = file.parent if root is None else root
    wrong = [*references.findings(recipe, root, positions), *consistency.findings(recipe, positions)]
    if wrong:
        raise combined(wrong, positions, RecipeError)
    return LoadedRecipe(recipe, file, root, positions)


def to_document(recipe: Recipe) -> dict[str, Any]:
    """The recipe with all its defaults as JSON-able values, such as load_recipe takes from a YAML file."""
    return recipe.model_dump(mode="json", by_alias=True)


def _check_version(version: Any, positions: Positions) -> None:
    # First: the keys of a newer schema would be called unknown, which misleads.
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise RecipeError(
            f"schema: {version} is newer than {SCHEMA_VERSION}, the newest that edgeattn {__version__} reads",
            where=positions.where(("schema",)),
            fix="upgrade edgeattn, or use a recipe of the older schema",
        )
