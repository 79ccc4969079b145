"""Hostile and broken recipes: each is refused with exit code 2 and a sentence, and nothing is written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import edgeattn
from edgeattn.cli.main import run
from edgeattn.recipe import load_recipe, to_document

RECIPE = """\
schema: 1
name: victim
description: A small vision transformer
model:
  architecture: vit
  image_size: 8
  patch_size: 2
  hidden_size: 64
  heads: 4
task: {kind: image-classification, labels: 10}
data:
  train: {source: "builtin:digits"}
  eval: {source: "builtin:digits", split: test}
attention:
  - {layers: all, variant: hedgehog}
"""
VIT = RECIPE[RECIPE.index("  architecture") : RECIPE.index("task:")]
BOMB = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One folder as working directory, home and cache, so that anything written is found."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for variable in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "EDGEATTN_CACHE"):
        monkeypatch.setenv(variable, str(folder))
    return folder


def refused(folder: Path, text: str, capsys: pytest.CaptureFixture[str]) -> str:
    (folder / "bad.yaml").write_text(text)
    before = sorted(folder.rglob("*"))
    assert run(["recipes", "check", "bad.yaml"]) == 2
    assert sorted(folder.rglob("*")) == before
    out, err = capsys.readouterr()
    assert out == ""
    assert "fix: " in err
    return err


def changed(old: str, new: str) -> str:
    assert old in RECIPE
    return RECIPE.replace(old, new, 1)


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        pytest.param(
            changed("hidden_size", "hiden_size"),
            ["bad.yaml:8: model.hiden_size: unknown key", "did you mean 'hidden_size'?"],
            id="unknown-key",
        ),
        pytest.param(
            changed("  heads: 4", "  heads: 4\n  image_size: 9"),
            ["bad.yaml:10: duplicate key 'image_size', already at line 6"],
            id="duplicate-key",
        ),
        pytest.param(BOMB, ["bad.yaml:1: anchor &a is refused"], id="alias-bomb"),
        pytest.param("a: *b\n", ["bad.yaml:1: alias *b is refused"], id="alias"),
        pytest.param("a: " + "[" * 100_000, ["bad.yaml:1: is nested more than 32 levels deep"], id="flow-nesting"),
        pytest.param(
            "".join(f"{' ' * depth}a:\n" for depth in range(100)),
            ["bad.yaml:33: is nested more than 32 levels deep"],
            id="block-nesting",
        ),
        pytest.param(
            RECIPE + "#" * 1024 * 1024,
            ["bad.yaml: is larger than 1048576 bytes (1 MiB)"],
            id="more-than-1-MiB",
        ),
        pytest.param(
            changed("victim", "!!python/object/apply:os.system [touch pwned]"),
            ["bad.yaml:2: tag '!!python/object/apply:os.system' is refused"],
            id="python-tag",
        ),
        pytest.param(changed("victim", "!own x"), ["bad.yaml:2: tag '!own' is refused"], id="own-tag"),
        pytest.param(changed("victim", "!!str x"), ["bad.yaml:2: tag '!!str' is refused"], id="standard-tag"),
        pytest.param(
            changed("heads: 4", "heads: .nan"),
            ["bad.yaml:9: .nan is not a finite number"],
            id="not-a-number",
        ),
        pytest.param(
            changed("heads: 4", "heads: -4"),
            ["bad.yaml:9: model.heads: must be at least 1, not -4"],
            id="negative",
        ),
        pytest.param(
            changed("heads: 4", "heads: 6"),
            ["bad.yaml:9: model.heads: 6 does not divide hidden_size 64", "fix: use 4 or 8"],
            id="heads-that-do-not-divide",
        ),
        pytest.param(
            changed('"builtin:digits"}', '"builtin:digits", quoting: no}'),
            [
                "bad.yaml:12: data.train.quoting: true or false is expected, not the text 'no'",
                "'no' is text in YAML 1.2",
            ],
            id="no-is-not-false",
        ),
        pytest.param(
            changed("heads: 4", "heads: 0o4"),
            ["bad.yaml:9: model.heads: a whole number is expected, not the text '0o4'"],
            id="octal",
        ),
        pytest.param(
            changed("labels: 10", "labels: 010"),
            ["bad.yaml:10: task.labels: a whole number is expected, not the text '010'"],
            id="old-octal",
        ),
        pytest.param(
            changed("labels: 10", "labels: 2024-01-01"),
            ["bad.yaml:10: task.labels: a whole number is expected, not the text '2024-01-01'"],
            id="date",
        ),
        pytest.param(
            changed("heads: 4", 'heads: "4"'),
            [
                "bad.yaml:9: model.heads: a whole number is expected, not the text '4'",
                "without quotation marks",
            ],
            id="quoted-number",
        ),
        pytest.param(
            changed('"builtin:digits"}', "/etc/passwd}"),
            ["bad.yaml:12: data.train.source: '/etc/passwd' is an absolute path"],
            id="absolute-path",
        ),
        pytest.param(
            changed('"builtin:digits"}', "data/../../secret.csv}"),
            ["bad.yaml:12: data.train.source: 'data/../../secret.csv' leads out of the recipe's folder"],
            id="dot-dot",
        ),
        pytest.param(
            changed(VIT, "  source: package:os/../../etc\n"),
            ["bad.yaml:5: model.source: 'package:os/../../etc' is not of the form package:MODULE/FOLDER"],
            id="dot-dot-in-a-package",
        ),
        pytest.param(
            changed(VIT, "  source: hub:a/b\n  revision: x/../../y\n"),
            ["bad.yaml:6: model.revision: 'x/../../y' holds `..`"],
            id="dot-dot-in-a-revision",
        ),
        pytest.param(
            changed('"builtin:digits"}', "'-oProxyCommand=x'}"),
            ["bad.yaml:12: data.train.source: '-oProxyCommand=x' is not a plain file name"],
            id="option-as-file",
        ),
        pytest.param(
            changed(VIT, "  source: hub:-oProxyCommand=x\n"),
            ["bad.yaml:5: model.source: 'hub:-oProxyCommand=x' is not of the form hub:ORG/NAME"],
            id="option-as-hub-name",
        ),
        pytest.param(
            changed(VIT, "  source: hub:a;rm -rf\n"),
            ["bad.yaml:5: model.source: 'hub:a;rm -rf' is not of the form hub:ORG/NAME"],
            id="shell-in-hub-name",
        ),
        pytest.param(
            changed(VIT, '  source: "hub:a/b\\n"\n'),
            [r"bad.yaml:5: model.source: 'hub:a/b\n' is not of the form hub:ORG/NAME"],
            id="line-break-in-hub-name",
        ),
        pytest.param(
            changed(VIT, "  source: ftp://host/x\n"),
            ["bad.yaml:5: model.source: 'ftp:' is not a known kind of source"],
            id="other-scheme",
        ),
        pytest.param(changed("victim", "';rm'"), ["bad.yaml:2: name: ';rm' does not match"], id="recipe-name"),
        pytest.param(
            changed("schema: 1", "schema: 2").replace("model:", "modell:"),
            ["error: bad.yaml:1: schema: 2 is newer than 1, the newest that edgeattn"],
            id="newer-schema",
        ),
        pytest.param(
            changed('"builtin:digits"}', "$HOME/x.csv}"),
            ["bad.yaml:12: data.train.source: '$HOME/x.csv' is not a plain file name", "not expanded"],
            id="variable-in-a-path",
        ),
        pytest.param(
            changed('"builtin:digits"}', "~/x.csv}"),
            ["bad.yaml:12: data.train.source: '~/x.csv' is not a plain file name"],
            id="home-in-a-path",
        ),
    ],
)
def test_refused(folder: Path, capsys: pytest.CaptureFixture[str], text: str, sentences: list[str]) -> None:
    said = refused(folder, text, capsys)
    for sentence in sentences:
        assert sentence in said


def test_symlinks_out_of_the_folder_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder.parent / "outside").mkdir()
    (folder.parent / "outside" / "secret.csv").write_text("a\n")
    (folder / "file.csv").symlink_to("../outside/secret.csv")
    (folder / "dir").symlink_to("../outside")
    (folder / "loop").symlink_to("loop")
    for name, fact in (
        ("file.csv", "is a link that leads out of"),
        ("dir/secret.csv", "is a link that leads out of"),
        ("loop", ""),
    ):
        said = refused(folder, changed('"builtin:digits"}', f"{name}}}"), capsys)
        assert "bad.yaml:12: data.train.source: " in said
        assert fact in said


def test_a_pipe_is_refused_without_waiting_for_a_writer(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(folder / "pipe.csv")
    said = refused(folder, changed('"builtin:digits"}', "pipe.csv}"), capsys)
    assert "'pipe.csv' is not a regular file" in said
    os.mkfifo(folder / "pipe.yaml")
    assert run(["recipes", "check", "pipe.yaml"]) == 2
    assert "pipe.yaml: is not a regular file" in capsys.readouterr().err


def test_environment_variables_are_not_expanded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    file = folder / "recipe.yaml"
    file.write_text(changed("A small vision transformer", "uses $SECRET and ${SECRET}"))
    document = to_document(load_recipe(str(file)).recipe)
    assert document["description"] == "uses $SECRET and ${SECRET}"
    assert "hunter2" not in str(document)


def test_terminal_escapes_do_not_reach_the_terminal(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(folder, changed("victim", r'"\e]0;pwned\a\e[2J"'), capsys)
    assert "\x1b" not in said
    assert "\x07" not in said
    said = refused(folder, RECIPE + '"\\e[31mkey\\nerror: forged": 1\n', capsys)
    assert r"bad.yaml:16: '\x1b[31mkey\nerror: forged': unknown key" in said


def test_the_real_command_exits_with_2(folder: Path) -> None:
    (folder / "bad.yaml").write_text(BOMB)
    done = subprocess.run(
        [sys.executable, "-m", "edgeattn", "recipes", "check", "bad.yaml"],
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "PYTHONPATH": str(Path(edgeattn.__file__).parents[1]),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "error: bad.yaml:1: anchor &a is refused\n  fix: write the value out where it is needed\n"
    assert [path.name for path in folder.iterdir()] == ["bad.yaml"]
