"""What a recipe may name: files and folders beside it, hub repositories, packages and built-in data.

A recipe may come from a stranger, so every name is checked against an allow-list before anything acts on it.
Environment variables and `~` are never expanded: `$` and `~` are not in the list.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from edgeattn.errors import RecipeError
from edgeattn.recipe.schema import PretrainedModel, Recipe
from edgeattn.validation import Finding, key_text
from edgeattn.yamlfile import Place, Positions

_FILE = re.compile(r"[A-Za-z0-9._][A-Za-z0-9._-]*(/[A-Za-z0-9._][A-Za-z0-9._-]*)*/?")
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_FORMS = {
    "hub": (re.compile(rf"{_NAME}(/{_NAME})?"), "hub:ORG/NAME"),
    "package": (re.compile(r"[A-Za-z]\w*(/[\w.][\w.-]*)*", re.ASCII), "package:MODULE/FOLDER"),
    "builtin": (re.compile(r"[a-z0-9][a-z0-9-]*"), "builtin:NAME"),
}
_RELATIVE = "give a path relative to the recipe's folder and inside it"


def inside(root: Path, name: str, *, where: str | None = None) -> Path:
    """The file or folder that a recipe calls `name`, which must exist inside the folder `root`.

    Refuses absolute paths, `..`, `~`, names that begin with `-`, all characters but ASCII letters, digits and
    `._-/`, and links that lead out of `root`. Raises RecipeError with `where`.
    """
    if name.startswith("/"):
        raise RecipeError(f"{name!r} is an absolute path", where=where, fix=_RELATIVE)
    if ".." in name.split("/"):
        raise RecipeError(f"{name!r} leads out of the recipe's folder with `..`", where=where, fix=_RELATIVE)
    if not _FILE.fullmatch(name):
        raise RecipeError(
            f"{name!r} is not a plain file name",
            where=where,
            fix="use ASCII letters, digits and ._-/ only, with no part that begins with `-`; "
            "`~` and variables are not expanded",
        )
    try:
        path = (root / name).resolve(strict=True)
    except (OSError, RuntimeError):  # RuntimeError: a loop of links, before Python 3.13
        raise RecipeError(f"no file or folder {name!r} in {root}", where=where, fix="check the name") from None
    if not path.is_relative_to(root.resolve()):
        raise RecipeError(f"{name!r} is a link that leads out of {root}", where=where, fix=_RELATIVE)
    return path


def findings(recipe: Recipe, root: Path, positions: Positions) -> Iterator[Finding]:
    """What is wrong with the names in `recipe`, whose files lie in `root`."""
    checks: list[tuple[Place, str, str | None, tuple[str, ...], Callable[[str, Path, str], None]]] = []
    if isinstance(recipe.model, PretrainedModel):
        model = recipe.model
        checks.append((("model",), model.source, model.revision, ("hub", "package"), _check_model))
    for part, data in (("train", recipe.data.train), ("eval", recipe.data.eval)):
        checks.append((("data", part), data.source, data.revision, ("builtin", "hub"), _check_data))

    for place, source, revision, schemes, check in checks:
        where = positions.where((*place, "source"))
        try:
            path = _check_source(source, schemes, root, where)
            if path is not None:
                check(source, path, where)
        except RecipeError as error:
            yield Finding(where, key_text((*place, "source")), error.fact, error.fix)
        if revision is not None and ".." in revision:
            # huggingface_hub keeps a file of that name in its cache.
            where = positions.where((*place, "revision"))
            fact = f"{revision!r} holds `..`"
            yield Finding(where, key_text((*place, "revision")), fact, "give a commit, tag or branch")


def _check_model(source: str, path: Path, where: str) -> None:
    if not path.is_dir():
        raise RecipeError(f"{source!r} is not a folder", where=where, fix="give the name of a folder")


def _check_data(source: str, path: Path, where: str) -> None:
    from edgeattn.data.formats import FORMATS, KNOWN, suffix_of

    if path.is_dir():
        raise RecipeError(
            f"{source!r} is a folder; samples are read from one file",
            where=where,
            fix=f"put them into a file ({KNOWN}); images as nested lists of numbers, [channels][height][width]",
        )
    if not path.is_file():
        raise RecipeError(f"{source!r} is not a regular file", where=where, fix="give the name of a regular file")
    if suffix_of(path) not in FORMATS:
        raise RecipeError(f"{source!r} is of no known format", where=where, fix=f"known: {KNOWN}")


def _check_source(source: str, schemes: tuple[str, ...], root: Path, where: str) -> Path | None:
    """The path that `source` names; None for a scheme such as hub:. Raises RecipeError if it is not allowed."""
    scheme, colon, name = source.partition(":")
    if not colon:
        return inside(root, source, where=where)
    known = " or ".join(_FORMS[each][1] for each in schemes)
    if scheme not in schemes:
        raise RecipeError(
            f"{scheme + ':'!r} is not a known kind of source",
            where=where,
            fix=f"use {known}, or a path without `:`",
        )
    pattern, form = _FORMS[scheme]
    if not pattern.fullmatch(name) or ".." in name:
        raise RecipeError(
            f"{source!r} is not of the form {form}",
            where=where,
            fix="use ASCII letters, digits and ._- only; each name begins with a letter or digit",
        )
    return None
