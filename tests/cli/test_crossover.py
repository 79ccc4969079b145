"""`edgeattn crossover`, as a user calls it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from edgeattn.cli.main import run
from edgeattn.crossover import export
from edgeattn.shipped import shipped

SMALL = ["crossover", "--heads", "2", "--head-dim", "8", "--lengths", "8,4,8", "--threads", "1"]


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds that take milliseconds."""
    monkeypatch.setattr(export, "Effort", partial(export.Effort, rounds=2, block_s=0.003, warm_s=0.003))


@pytest.mark.slow
@pytest.mark.usefixtures("hasty")
def test_measures_and_writes_table_document_and_plot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "results" / "here"
    options = ["--variants", "sliding_window,hedgehog", "--options", "hedgehog.feature_dim=4,sliding_window.window=4"]
    assert run([*SMALL, *options, "--json", "--out", str(out)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["notes"] == []
    cells = document["cells"]
    assert [(cell["length"], cell["projections"]) for cell in cells] == [(4, False), (4, True), (8, False), (8, True)]
    for cell in cells:
        assert set(cell["dense"]["forms_ms"]) == {
            "onnxruntime plain", "openvino plain", "onnxruntime MultiHeadAttention",
        }  # fmt: skip
        assert set(cell["variants"]) == {"hedgehog", "sliding_window"}
        for found in cell["variants"].values():
            assert found["ms"] > 0
            assert found["speedup"]["low"] <= found["speedup"]["ratio"] <= found["speedup"]["high"]
    assert document["options"]["hedgehog"]["feature_dim"] == 4
    assert document["options"]["sliding_window"]["window"] == 4
    assert json.loads((out / "crossover.json").read_text()) == document
    assert "pays from N" in (out / "crossover.txt").read_text()
    assert {path.name for path in out.iterdir()} == {f"crossover.{end}" for end in ("json", "txt", "svg", "png")}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--target", "cpus"], 2, "unknown device 'cpus'\n  fix: did you mean 'cpu'"),
        (["--heads", "0"], 2, "'--heads': 0 is not in the range"),
        (["--head-dim", "100000"], 2, "'--head-dim': 100000 is not in the range"),
        (["--lengths", "many"], 2, "'--lengths': 'many' is not a list of numbers such as 128,512"),
        (["--lengths", "0"], 2, "a length is a number from 1 to 1000000"),
        (["--variants", "hedgehogs"], 2, "--variants: unknown variant 'hedgehogs'\n  fix: did you mean 'hedgehog'"),
        (["--variants", "dense"], 2, "--variants: dense is what the variants are compared with"),
        (["--options", "hedgehog.features=4"], 2, "--options: option 'features' is not one of hedgehog's\n  fix: did"),
        (["--options", "hedgehog.feature_dim=1"], 2, "--options: hedgehog.feature_dim: Input should be greater than"),
        (["--options", "hedgehog.feature_dim=four"], 2, "hedgehog.feature_dim: Input should be a valid integer"),
        (["--options", "hedgehog"], 2, "'hedgehog' is not an option\n  fix: write sliding_window.window=256"),
        (["--variants", "hedgehog", "--options", "sliding_window.window=4"], 2, "'sliding_window' is not among the"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_before_anything_is_measured(
    arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*SMALL, *arguments]) == code
    assert said in capsys.readouterr().err


def test_a_variant_without_the_mode_says_which_have_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from edgeattn.attention.hedgehog import Hedgehog

    monkeypatch.setattr(Hedgehog, "causal", False)
    assert run([*SMALL, "--causal", "--variants", "hedgehog"]) == 2
    error = capsys.readouterr().err
    assert "--variants: hedgehog is not causal\n  fix: run without --causal" in error


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device with another processor than this machine's."""
    shutil.copyfile(shipped("devices") / "cpu.yaml", tmp_path / "cpu.yaml")
    (tmp_path / "board.yaml").write_text(
        "schema: 1\nextends: cpu\ndescription: A board\nprobe: false\ncpu: {model: Another}\n"
    )
    monkeypatch.setattr("edgeattn.devices.load.shipped", lambda _kind: tmp_path)


@pytest.mark.usefixtures("board")
def test_another_device_is_to_be_measured_on_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*SMALL, "--target", "board"]) == 4
    assert "error: --host: local is not board: its processor is " in capsys.readouterr().err


@pytest.mark.usefixtures("board")
def test_graphs_for_another_device_are_refused_here(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "graphs"
    assert run([*SMALL, "--target", "board", "--variants", "identity", "--export", str(folder)]) == 0
    assert capsys.readouterr().out == "run `edgeattn measure graphs` on the device\n"
    assert run(["measure", str(folder)]) == 4
    error = capsys.readouterr().err
    assert f"error: {folder}/graphs.json: board is not this machine: its processor is " in error
    assert "fix: run this command on board; for this machine, run `edgeattn crossover` with --target cpu" in error


@pytest.mark.slow
def test_the_same_graphs_are_exported_again(tmp_path: Path) -> None:
    """So that the same command takes a job over that is already on the device."""
    folders = [tmp_path / name for name in ("first", "second")]
    for folder in folders:
        # In processes of their own, because addresses in a graph's metadata are another process's.
        command = [*SMALL, "--variants", "sliding_window", "--export", str(folder)]
        subprocess.run([sys.executable, "-m", "edgeattn", *command], check=True, capture_output=True)
    assert (folders[0] / "graphs.json").read_bytes() == (folders[1] / "graphs.json").read_bytes()


def test_no_host_is_taken_where_graphs_are_only_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*SMALL, "--export", str(tmp_path / "graphs"), "--host", "local"]) == 2
    assert "error: --host: --export only writes graphs, so it takes no --host\n" in capsys.readouterr().err


def test_graphs_are_exported_into_an_empty_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert run([*SMALL, "--export", str(tmp_path)]) == 2
    assert f"error: --export: {tmp_path} is not empty\n  fix: choose a new folder\n" in capsys.readouterr().err


def test_several_hosts_have_no_folder_of_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hosts = ["--host", "local", "--host", "local"]
    assert run([*SMALL, *hosts, "--out", str(tmp_path / "out")]) == 2
    assert "error: --out: --out takes the results of one host\n" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_unknown_host_is_refused_before_anything_is_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EDGEATTN_CONFIG", str(tmp_path))
    assert run([*SMALL, "--host", "pi5"]) == 4
    error = capsys.readouterr().err
    assert "error: --host: unknown host 'pi5'\n" in error
    assert "export:" not in error


def test_a_file_is_no_folder_to_write_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert run([*SMALL, "--out", str(tmp_path / "file")]) == 2
    assert "is a file" in capsys.readouterr().err
