from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import edgeattn
from edgeattn.attention import ATTENTION, REDUCERS
from edgeattn.cli.main import run
from edgeattn.quantize import METHODS
from edgeattn.recipe import load_recipe, reader


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "shipped"
    folder.mkdir()
    (folder / "tiny.yaml").write_text("name: tiny\ndescription: a small \x1bone\n".replace("\x1b", ""))
    (folder / "minilm-hedgehog.yaml").write_text('description: "MiniLM \\e[31m with Hedgehog"\n')
    monkeypatch.setattr(reader, "shipped", lambda kind: folder)
    return folder


def test_the_list_has_name_and_description(shipped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["recipes"]) == 0
    assert capsys.readouterr().out == "minilm-hedgehog  MiniLM  with Hedgehog\ntiny             a small one\n"
    assert run(["recipes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[1] == {"name": "tiny", "description": "a small one"}


def test_the_list_needs_no_torch() -> None:
    code = (
        "import sys; from edgeattn.cli.main import run; code = run(['recipes', '--json']);"
        "heavy = {'torch', 'transformers', 'onnxruntime', 'numpy'};"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr);"
        "sys.exit(code)"
    )
    root = Path(edgeattn.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=root)
    assert (done.returncode, done.stderr) == (0, "[]\n")


def test_show_prints_the_file(shipped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["recipes", "show", "tiny"]) == 0
    assert capsys.readouterr().out == "name: tiny\ndescription: a small one\n"
    assert run(["recipes", "show", "tiny", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"name": "tiny", "description": "a small one"}


def test_show_of_a_wrong_name_gets_the_nearest(shipped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["recipes", "show", "minilm-hedgehogg"]) == 2
    err = capsys.readouterr().err
    assert "error: no recipe is called 'minilm-hedgehogg'\n  fix: did you mean 'minilm-hedgehog'?" in err


@pytest.mark.parametrize("task", ["text-embedding", "image-classification"])
def test_a_new_recipe_loads(task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.yaml"
    assert run(["recipes", "new", str(file), "--task", task]) == 0
    assert capsys.readouterr().out == f"wrote {file}; check it with `edgeattn recipes check {file}`\n"
    assert load_recipe(str(file)).recipe.task.kind == task
    assert run(["recipes", "check", str(file)]) == 0
    assert "is valid" in capsys.readouterr().out
    assert run(["recipes", "check", str(file), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["valid"], document["target"], document["unchecked"]) == (True, "cpu", [])
    assert document["layers"] == {"text-embedding": 6, "image-classification": 4}[task]
    assert document["recipe"]["quantize"]["prefer"] == "latency"  # a default, filled in


def test_check_takes_another_root_and_target(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "data").mkdir()
    file = tmp_path / "recipes" / "mine.yaml"
    assert run(["recipes", "new", str(file), "--task", "image-classification"]) == 0
    file.write_text(file.read_text().replace('"builtin:digits", split: train', "digits.jsonl"))
    image = [[[0.5] * 8] * 8]
    rows = [json.dumps({"image": image, "label": label}) for label in (0, 1, 11)]
    (tmp_path / "data" / "digits.jsonl").write_text("\n".join(rows))
    assert run(["recipes", "check", str(file)]) == 2
    assert "data.train.source: no file or folder 'digits.jsonl' in " in capsys.readouterr().err
    assert run(["recipes", "check", str(file), "--root", str(tmp_path / "data")]) == 2
    said = "data.train.source: digits.jsonl, row 3: label 11 is outside the task's 10 labels\n  fix: number the classes"
    assert said in capsys.readouterr().err
    assert run(["recipes", "check", str(file), "--target", "cpus"]) == 2
    assert "unknown device 'cpus'" in capsys.readouterr().err


def test_a_new_recipe_overwrites_only_by_force(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("precious")
    assert run(["recipes", "new", str(file)]) == 2
    assert f"error: {file}: exists already\n  fix: choose another name, or give --force" in capsys.readouterr().err
    assert file.read_text() == "precious"
    assert run(["recipes", "new", str(file), "--force"]) == 0
    assert file.read_text().startswith("# An edgeattn recipe.")


def test_a_new_recipe_needs_its_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["recipes", "new", str(tmp_path / "absent" / "mine.yaml")]) == 2
    err = capsys.readouterr().err
    assert f"mine.yaml: its folder does not exist\n  fix: make the folder {tmp_path / 'absent'}" in err


def test_a_new_recipe_goes_to_stdout(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["recipes", "new", "-"]) == 0
    assert capsys.readouterr().out.startswith("# An edgeattn recipe.")
    assert list(tmp_path.iterdir()) == []
    assert run(["recipes", "new"]) == 0
    assert (tmp_path / "recipe.yaml").is_file()


def test_the_schema_has_each_variants_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["recipes", "schema"]) == 0
    rules = json.loads(capsys.readouterr().out)["$defs"]
    rule = rules["AttentionRule"]
    assert rule["properties"]["variant"]["enum"] == list(ATTENTION)
    options = {
        case["if"]["properties"]["variant"]["const"]: case["then"]["properties"]["options"] for case in rule["allOf"]
    }
    assert set(options) == set(ATTENTION)
    assert set(options["sliding_window"]["properties"]) == {"window", "global_tokens"}
    assert options["sliding_window"]["additionalProperties"] is False
    assert "feature_dim" in options["hedgehog"]["properties"]
    reduce = rules["ReduceRule"]
    assert reduce["properties"]["reducer"]["enum"] == list(REDUCERS)
    (case,) = reduce["allOf"]
    assert set(case["then"]["properties"]["options"]["properties"]) == {"r", "protect", "proportional"}
    method = rules["QuantizeMethod"]
    assert method["properties"]["method"]["enum"] == list(METHODS)
    assert [case["if"]["properties"]["method"]["const"] for case in method["allOf"]] == list(METHODS)
    assert rules["Quantize"]["properties"]["methods"]["items"]["anyOf"] == [
        {"enum": list(METHODS)},
        {"$ref": "#/$defs/QuantizeMethod"},
    ]
