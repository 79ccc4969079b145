"""`edgeattn recipes`: list, show, check and create recipes."""

from __future__ import annotations

import json
from pathlib import Path

import click

import edgeattn
from edgeattn.cli.console import Group, common_options, emit, list_described
from edgeattn.plaintext import plain

_STARTERS = Path(edgeattn.__file__).parent / "recipe" / "starters"
_TASKS = sorted(path.stem for path in _STARTERS.glob("*.yaml"))


@click.group("recipes", cls=Group, invoke_without_command=True)
@common_options
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """List the recipes that ship with edgeattn; show, check or create one."""
    if ctx.invoked_subcommand is not None:
        return
    from edgeattn.recipe.reader import read_yaml, shipped_recipes

    rows = []
    for name, path in shipped_recipes().items():
        # Not load_recipe: checking the options of an attention variant needs torch.
        document, _ = read_yaml(path)
        description = document.get("description", "") if isinstance(document, dict) else ""
        rows.append({"name": name, "description": str(description)})

    emit(rows, as_json, lambda: list_described(rows))


@command.command("show", short_help="Print a recipe as it is written.")
@click.argument("name")
@common_options
def show(name: str, as_json: bool) -> None:
    """Print the recipe NAME (a shipped recipe's name, or a file) as it is written."""
    from edgeattn.recipe.reader import find_recipe, read_yaml

    path = find_recipe(name)
    document, _ = read_yaml(path)
    text = path.read_text(encoding="utf-8")
    emit(document, as_json, lambda: click.echo(plain(text, lines=True), nl=False))


@command.command("check", short_help="Check whether a recipe can be compiled.")
@click.argument("recipe")
@click.option(
    "--target", default="cpu", show_default=True, metavar="NAME", help="A device that `edgeattn devices` lists."
)
@click.option(
    "--root",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder that file names in the recipe are relative to; the recipe's own by default.",
)
@common_options
def check(recipe: str, target: str, root: Path | None, as_json: bool) -> None:
    """Check whether RECIPE (a file, or a shipped recipe's name) can be compiled for a target; nothing is written.

    Lists every mistake in the recipe, its data and its model with line and remedy, as `edgeattn compile` does before
    it begins. Nothing is downloaded; what could not be checked is listed. With --json, prints the recipe with all its
    defaults.
    """
    from edgeattn.devices import load_device
    from edgeattn.recipe.reader import load_recipe, to_document

    device, loaded = load_device(target), load_recipe(recipe, root=root)
    from edgeattn.preflight import preflight  # after the reader, whose errors do not need its libraries

    facts = preflight(loaded.recipe, loaded.root, loaded.positions, device)
    document = {
        "valid": True, "file": str(loaded.file), "target": target, **facts, "recipe": to_document(loaded.recipe)
    }  # fmt: skip

    def human() -> None:
        click.echo(plain(f"{loaded.file}: the recipe {loaded.recipe.name} is valid for {target}"))
        for missing in facts["unchecked"]:
            click.echo(plain(f"not checked: {missing}"))

    emit(document, as_json, human)


@command.command("schema", short_help="Print the JSON Schema of recipes, for an editor.")
@common_options
def schema(as_json: bool) -> None:
    """Print the JSON Schema of recipes, with the options of each attention variant, for an editor."""
    from edgeattn.recipe.json_schema import recipe_json_schema

    document = recipe_json_schema()
    emit(document, as_json, lambda: click.echo(json.dumps(document, indent=2)))


@command.command("new", short_help="Write a commented recipe to start from.")
@click.argument("file", default="recipe.yaml")
@click.option(
    "--task", type=click.Choice(_TASKS), default="text-embedding", show_default=True, help="What the model does."
)
@click.option("--force", is_flag=True, help="Overwrite FILE.")
@common_options
def new(file: str, task: str, force: bool, as_json: bool) -> None:
    """Write a commented starter recipe to FILE (recipe.yaml by default, - for stdout)."""
    from edgeattn.errors import InputError

    text = (_STARTERS / f"{task}.yaml").read_text(encoding="utf-8")
    if file == "-":
        emit({"file": None, "text": text}, as_json, lambda: click.echo(text, nl=False))
        return
    try:
        with Path(file).open("w" if force else "x", encoding="utf-8") as out:
            out.write(text)
    except FileExistsError:
        raise InputError("exists already", where=file, fix="choose another name, or give --force") from None
    except (FileNotFoundError, NotADirectoryError):
        raise InputError("its folder does not exist", where=file, fix=f"make the folder {Path(file).parent}") from None
    emit(
        {"file": file},
        as_json,
        lambda: click.echo(plain(f"wrote {file}; check it with `edgeattn recipes check {file}`")),
    )
