"""The documents are true: links lead somewhere, recipes load, commands exist, every key is explained."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click
import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from edgeattn.attention import ATTENTION, REDUCERS
from edgeattn.cli.main import COMMANDS, cli
from edgeattn.quantize import METHODS
from edgeattn.recipe import Recipe, load_recipe

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
DOCUMENTS += sorted((ROOT / "docs").glob("*.md"))
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


def fences(document: Path, language: str) -> list[str]:
    return [body for found, body in FENCE.findall(document.read_text()) if found == language]


RECIPES = [(path, body) for path in DOCUMENTS for body in fences(path, "yaml")]


def anchors(document: Path) -> set[str]:
    """Headings as GitHub links to them."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", document.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


# --- links, hosts and paths ---------------------------------------------------------------------------------


@every_document
def test_links_lead_to_files_and_headings(document: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", document.read_text())):
        name, _, anchor = link.partition("#")
        target = (document.parent / name).resolve() if name else document
        assert target.is_file(), link
        assert target.is_relative_to(ROOT), link
        assert not anchor or anchor in anchors(target), link


@every_document
def test_files_that_are_named_exist(document: Path) -> None:
    named = re.findall(r"`((?:edgeattn|tests|benchmarks|recipes|devices|docs)/[\w./-]*)`", document.read_text())
    # Upper-case names stand for what a contributor will write.
    absent = [name for name in named if not re.search(r"[A-Z]{4}", name) and not (ROOT / name).exists()]
    assert absent == []


@every_document
def test_no_host_and_no_path_of_one_machine(document: Path) -> None:
    text = document.read_text()
    assert re.findall(r"https?://\S+|\b[\w.-]+\.(?:org|com|io|net|dev|ai|co)\b", text) == []
    assert re.findall(r"(?<![\w.~])/(?:home|root|Users|work|tmp|opt|mnt|srv|var|etc)/\S*", text) == []


# --- recipes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("document", "text"), RECIPES, ids=[path.name for path, _ in RECIPES])
def test_recipes_load(document: Path, text: str, tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(text)
    assert load_recipe(str(file)).recipe.schema_version == 1


def test_there_are_recipes_to_load() -> None:
    assert {path.name for path, _ in RECIPES} >= {"README.md", "recipes.md"}


def keys(part: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every key of a part and of the parts within, as docs/recipes.md writes it; a part that two keys share, once."""
    for name, field in part.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        yield key, field
        if key in ("data.eval", "distill.finetune"):  # documented as having the same keys as the part before
            continue
        for inner in parts(field.annotation):
            yield from keys(inner, f"{key}[]." if key in ("attention", "reduce", "quantize.methods") else f"{key}.")


def parts(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from parts(argument)


def default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "its keys'"
    return "-" if value is None else json.dumps(value)


def schema_keys() -> dict[str, str]:
    found = {key: default(field) for key, field in keys(Recipe)}
    for name in REDUCERS:
        found |= {f"reduce[].options.{key}": default(field) for key, field in keys(REDUCERS[name].Options)}
    for name in METHODS:
        found |= {f"quantize.methods[].options.{key}": default(field) for key, field in keys(METHODS[name].Options)}
    return found


def test_every_key_of_a_recipe_is_explained_with_its_default() -> None:
    text = (ROOT / "docs" / "recipes.md").read_text()
    rows = re.findall(r"^\| `([^`]+)` \| [^|]+ \| ([^|]+) \| [^|]+ \|$", text, re.MULTILINE)
    documented = dict(rows)
    assert len(documented) == len(rows), "a key is explained twice"
    actual = schema_keys()
    # A heading of several small parts needs no row of its own.
    parents = {key for key in actual if key in ("model", "task", "data", "attention", "distill")}
    assert set(documented) == set(actual), "docs/recipes.md and edgeattn/recipe/schema.py differ"
    assert parents <= set(documented)
    assert documented == actual


def values(field: FieldInfo) -> str:
    """The values of an option, as docs/attention.md writes them: "4 to 512", "even, 2 to 65536", "`1d` or `2d`"."""
    if get_origin(field.annotation) is Literal:
        *most, last = (f"`{choice}`" for choice in get_args(field.annotation))
        return f"{', '.join(most)} or {last}"

    def limit(name: str) -> Any:
        return next((getattr(each, name) for each in field.metadata if hasattr(each, name)), None)

    even = "even, " if limit("multiple_of") == 2 else ""
    return f"{even}{limit('ge')} to {limit('le')}"


def option_rows() -> list[str]:
    """One row per option of an attention variant, from the code."""
    return [
        f"| `{name}.{key}` | {values(field)} | {default(field)} | {field.description} |"
        for name in ATTENTION
        for key, field in ATTENTION[name].Options.model_fields.items()
    ]


def test_every_variant_and_its_options_are_explained() -> None:
    text = (ROOT / "docs" / "attention.md").read_text()
    found = re.findall(r"^\| `\w+\.\w+` \|.*$", text, re.MULTILINE)
    assert found == option_rows(), "docs/attention.md and the options in edgeattn/attention/ differ"
    variants = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    assert sorted(variants) == sorted(ATTENTION)


def test_every_variant_method_task_and_metric_is_named() -> None:
    from edgeattn.metrics import metric_names
    from edgeattn.tasks import TASKS

    text = (ROOT / "docs" / "recipes.md").read_text()
    names = [
        *ATTENTION,
        *REDUCERS,
        *METHODS,
        *TASKS,
        *(metric for name in TASKS for metric in metric_names(name)),
    ]
    assert [name for name in names if f"`{name}`" not in text] == []


# --- commands -----------------------------------------------------------------------------------------------


def command_lines(document: Path) -> Iterator[list[str]]:
    """Every `edgeattn ...` and `make ...` of a document, from its code spans and its consoles."""
    text = document.read_text()
    lines = re.findall(r"`((?:edgeattn|make) [^`]*)`", FENCE.sub("", text))
    lines += [line[2:] for body in fences(document, "console") for line in body.splitlines() if line.startswith("$ ")]
    for line in lines:
        words = shlex.split(line, comments=True)
        if words[0] in ("edgeattn", "make"):
            yield words


@every_document
def test_commands_and_their_options_exist(document: Path) -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for program, *words in command_lines(document):
        if program == "make":
            assert {word for word in words if "=" not in word} <= targets, words
            continue
        context = click.Context(cli, info_name="edgeattn")
        command: click.Command = cli
        while isinstance(command, click.Group) and words and not words[0].startswith("-"):
            assert words[0] in command.list_commands(context), words
            inner = command.get_command(context, words.pop(0))
            assert inner is not None
            command = inner
        options = {option for each in command.get_params(context) for option in (*each.opts, *each.secondary_opts)}
        assert {word for word in words if word.startswith("-")} <= options, (command.name, words)


def test_the_readme_names_every_command_and_has_the_place_of_the_table() -> None:
    text = (ROOT / "README.md").read_text()
    assert [name for name in COMMANDS if f"edgeattn {name}" not in text] == []
    assert text.count("<!-- demo-table -->\n```") == 1
