"""What a stage declares is its key and all that its body gets."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from edgeattn.devices import load_device
from edgeattn.errors import DeviceError
from edgeattn.pipeline import ON_THE_DEVICE, STAGES, preflight
from edgeattn.progress import Progress
from edgeattn.recipe.schema import Recipe
from edgeattn.stage import Runner, Stage, only, versions
from edgeattn.store import Artifact, Store
from edgeattn.yamlfile import Positions

TEXT = {
    "schema": 1,
    "name": "text",
    "description": "Every part and key that a text recipe may have",
    "model": {"source": "teacher", "extend_positions": 64},
    "task": {"kind": "text-embedding", "max_length": 24},
    "data": {"train": {"source": "train.txt", "columns": {"text": "a"}}, "eval": {"source": "eval.txt", "limit": 9}},
    "attention": [{"layers": [0], "variant": "hedgehog", "options": {"feature_dim": 4}}],
    "reduce": [{"layers": [0], "reducer": "token_merging", "options": {"r": 4}}],
    "distill": {
        "transfer": {"steps": 1, "learning_rate": 1e-3},
        "finetune": {"steps": 2, "learning_rate": 1e-3},
        "max_length": 16,
    },
    "export": {"opset": 18, "buckets": [8]},
    "bench": {"lengths": [8, 12]},
}
IMAGES = {
    **{key: TEXT[key] for key in ("schema", "name", "description", "attention", "data")},
    "model": {"architecture": "vit", "image_size": 8, "patch_size": 2},
    "task": {"kind": "image-classification", "labels": 10},
}


ALL = (*STAGES, *ON_THE_DEVICE)


class Keys(Store):
    """Runs nothing; the digest of an artifact stands for the stage's key."""

    def run(self, stage: str, version: int, *, reads: Any, inputs: Any, libraries: Any, **_: Any) -> Artifact:  # type: ignore[override]
        digests = tuple(item.digest if isinstance(item, Artifact) else item for item in inputs)
        key = repr((stage, version, reads, digests, sorted(libraries.items())))
        return Artifact(self.root, key, {"note": ""}, cached=True)


def runner(store: Store, recipe: Recipe, **machine: Any) -> Runner:
    return Runner(store, Progress(), recipe, load_device("cpu"), Path(), host=None, machine=machine)


def keys(tmp_path: Path, recipe: Recipe, **machine: Any) -> dict[str, str]:
    run = runner(Keys(tmp_path), recipe, **machine)
    return {stage.name: run(dataclasses.replace(stage, files=None, of={})).digest for stage in ALL}


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, BaseModel):
        parts: Any = [(name, getattr(value, name)) for name in type(value).model_fields]
    else:
        parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, tuple) else ()
    inner = [leaf for name, part in parts for leaf in leaves(part, (*path, name))]
    yield from inner or [path]


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for name in path:
        value = getattr(value, name) if isinstance(value, BaseModel) else value[name]
    return value


def changed(value: Any, path: tuple[Any, ...]) -> Any:
    """`value` with another leaf, unchecked: only whether it reaches a key matters."""
    if not path:
        return f"not {value}"
    new = changed(at(value, path[:1]), path[1:])
    if isinstance(value, BaseModel):
        return value.model_copy(update={path[0]: new})
    items = {**value, path[0]: new} if isinstance(value, dict) else {**dict(enumerate(value)), path[0]: new}
    return items if isinstance(value, dict) else tuple(items.values())


@pytest.mark.parametrize("document", [TEXT, IMAGES], ids=["text", "images"])
def test_a_changed_leaf_of_the_recipe_changes_the_key_of_a_stage_or_cannot_be_read_by_it(tmp_path, document):
    recipe = Recipe.model_validate(document)
    found = list(leaves(recipe))
    assert ("task", "kind") in found
    assert ("attention", 0, "variant") in found
    for leaf in found:
        other = changed(recipe, leaf)
        for stage in ALL:
            before, after = (
                runner(Keys(tmp_path), each)(dataclasses.replace(stage, files=None, inputs=())).digest
                for each in (recipe, other)
            )
            if before == after:
                with pytest.raises(AttributeError):
                    at(only(recipe, stage.recipe), leaf)
            else:
                assert at(only(recipe, stage.recipe), leaf) == at(recipe, leaf)


@pytest.mark.parametrize(
    ("leaf", "first"),
    [
        ("task.max_length", "teacher"),
        ("attention.0.options.feature_dim", "convert"),
        ("distill.finetune.steps", "distill"),
        ("distill.max_length", "data"),
        ("export.opset", "export"),
        ("export.buckets.0", "quantize"),
        ("quantize.methods.0.name", "quantize"),
        ("quantize.prefer", "bundle"),
        ("bench.pairs", "bundle"),
        ("description", "bundle"),
    ],
)
def test_a_change_reaches_every_stage_from_the_first_that_reads_it(tmp_path, leaf, first):
    recipe = Recipe.model_validate(TEXT)
    path = tuple(int(name) if name.isdigit() else name for name in leaf.split("."))
    before, after = keys(tmp_path, recipe), keys(tmp_path, changed(recipe, path))
    names = list(before)
    assert [name for name in names if before[name] != after[name]] == names[names.index(first) :]


@pytest.mark.parametrize(("document", "option"), [(TEXT, "max_length"), (IMAGES, "labels")])
def test_a_task_option_is_in_the_key_of_every_stage_that_makes_the_task(document, option):
    """A changed label count used to take the student of the old one from the store."""
    for stage in STAGES[:5]:
        view = only(Recipe.model_validate(document), stage.recipe)
        assert at(view, ("task", option)) == document["task"][option], stage.name


def test_only_measured_stages_depend_on_the_machine(tmp_path):
    recipe = Recipe.model_validate(TEXT)
    here, elsewhere = (
        {stage.name: runner(Keys(tmp_path), recipe, cpu_model=cpu)(stage).digest for stage in bare}
        for cpu in ("EPYC", "Cortex-A76")
        for bare in [[dataclasses.replace(stage, files=None, inputs=()) for stage in ALL]]
    )
    assert [name for name in here if here[name] != elsewhere[name]] == ["build", "verify", "bench"]


def test_a_body_cannot_read_what_its_stage_does_not_declare(tmp_path):
    recipe = Recipe.model_validate(TEXT)
    run = runner(Store(tmp_path), recipe)
    seen = []

    def body(job: Any) -> dict[str, Any]:
        seen.append(job.recipe.data.train.source)
        return {"note": str(job.recipe.data.eval)}

    with pytest.raises(LookupError, match="stage greedy reads 'eval' and does not declare it"):
        run(Stage("greedy", 1, body, recipe=("data.train", "task")))
    assert seen == ["train.txt"]
    with pytest.raises(LookupError, match="does not declare `files`"):
        run(Stage("reader", 1, lambda job: {"note": str(job.root)}))
    with pytest.raises(KeyError, match="teacher"):
        run(Stage("early", 1, lambda job: {"note": str(job.path("teacher"))}))


def test_a_declared_part_that_does_not_exist_is_refused():
    with pytest.raises(LookupError, match="Recipe has no field 'taks'"):
        only(Recipe.model_validate(TEXT), ["taks"])


@pytest.mark.parametrize("stage", [preflight(Positions(Path(), {})), *ALL], ids=lambda stage: stage.name)
def test_every_declared_part_is_one_of_a_recipe_or_a_device(stage):
    recipes = [Recipe.model_validate(document) for document in (TEXT, IMAGES)]
    for part in stage.recipe:
        assert any(leaf[: part.count(".") + 1] == tuple(part.split(".")) for each in recipes for leaf in leaves(each))
    only(load_device("cpu"), stage.device)


def test_a_missing_library_of_a_stage_says_how_to_install_it():
    with pytest.raises(
        DeviceError, match=r"no-such-package is not installed\n  fix: pip install 'edgeattn\[compile\]'"
    ):
        versions("no-such-package")
