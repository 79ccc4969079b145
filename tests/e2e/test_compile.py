"""`edgeattn compile` of a shrunken digits recipe through the real command, and what a user does with its bundle.

One compile, killed with SIGKILL half way and run again, serves all tests and both test processes. Only its timings
are shorter than a user's (hasty.py).
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from edgeattn.bundle import Bundle
from edgeattn.cli.main import run
from edgeattn.shipped import shipped

RECIPE = """\
schema: 1
name: small-digits
description: A tiny ViT on a few handwritten digits
model:
  architecture: vit
  image_size: 8
  patch_size: 2
  channels: 1
  hidden_size: 16
  layers: 2
  heads: 2
  mlp_size: 32
  train: {epochs: 20, batch_size: 32, learning_rate: 5e-3}
task: {kind: image-classification, labels: 10}
data:
  train: {source: "builtin:digits", split: train, limit: 320}
  eval: {source: "builtin:digits", split: test, limit: 64}
attention:
  - {layers: [0], variant: sliding_window, options: {window: 8, global_tokens: 1}}
  - {layers: [1], variant: hedgehog}
reduce:
  - {layers: [0], reducer: token_merging, options: {r: 4}}
distill:
  transfer: {steps: 6, learning_rate: 1e-2, batch_size: 16}
  finetune: {steps: 30, learning_rate: 1e-3, batch_size: 16}
  checkpoint_every: 3
quantize: {methods: [fp32]}
accept: {metric: teacher_agreement, of_teacher: 0.5}
bench: {pairs: 3}
"""
HERE = ("preflight", "teacher", "data", "convert", "distill", "export", "quantize", "check", "bundle")
STAGES = (*HERE, "build", "verify", "bench")


@dataclass
class Compiled:
    folder: Path
    bundle: Path
    killed: str  # what the first run said until it was killed
    first: subprocess.CompletedProcess[str]  # the run that finished


def environment(cache: Path) -> dict[str, str]:
    return {**os.environ, "EDGEATTN_CACHE": str(cache), "HF_HUB_OFFLINE": "1"}


def edgeattn(folder: Path, *arguments: str, cache: str = "cache") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(Path(__file__).with_name("hasty.py")), *arguments],
        cwd=folder, env=environment(folder / cache), capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


def kill_in_finetune(folder: Path) -> str:
    """Compiles until a checkpoint of the second phase is whole, then kills the process. Returns its stderr."""
    said = folder / "killed.txt"
    with said.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("hasty.py")), "compile", "small.yaml", "--out", "bundle"],
            cwd=folder, env=environment(folder / "cache"), stdout=subprocess.DEVNULL, stderr=stderr,
        )  # fmt: skip
        deadline = time.monotonic() + 120
        while not list(folder.glob("cache/work/*/finetune/checkpoint-*/complete.json")):
            assert process.poll() is None, said.read_text()
            assert time.monotonic() < deadline, said.read_text()
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
    return said.read_text()


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Compiled:
    """The bundle, made once by the test process that comes first."""
    base = tmp_path_factory.getbasetemp() if worker_id == "master" else tmp_path_factory.getbasetemp().parent
    folder = base / "e2e"
    folder.mkdir(exist_ok=True)
    with (base / "e2e.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = folder / "first.json"
        if not done.exists():
            (folder / "small.yaml").write_text(RECIPE)
            killed = kill_in_finetune(folder)
            first = edgeattn(folder, "compile", "small.yaml", "--out", "bundle")
            done.write_text(json.dumps([killed, first.returncode, first.stdout, first.stderr]))
        killed, *facts = json.loads(done.read_text())
    first = subprocess.CompletedProcess([], *facts)
    assert first.returncode == 0, first.stderr
    return Compiled(folder, folder / "bundle", killed, first)


@pytest.fixture
def bundle(compiled: Compiled, tmp_path: Path) -> Path:
    """A copy of the bundle, to write to."""
    shutil.copytree(compiled.bundle, tmp_path / "bundle")
    return tmp_path / "bundle"


def outcomes(stderr: str) -> dict[str, str]:
    """stage -> how it ended: "from the store" or the time it took."""
    return dict(re.findall(r"^(\w+): done, ([^,\n]+)", stderr, re.MULTILINE))


def test_a_compile_makes_a_bundle_with_its_evidence(compiled):
    opened = Bundle.open(compiled.bundle)
    assert opened.manifest.name == "small-digits"
    assert [choice.variant for choice in opened.manifest.plan] == ["sliding_window", "hedgehog", "token_merging"]
    assert sorted(path.name for path in compiled.bundle.iterdir()) == sorted(
        [
            *("bundle.json", "config.json", "export.json", "engine", "eval.npz", "samples.npz", "report.html"),
            *("model.onnx", "model.onnx.data", "dense.onnx", "dense.onnx.data"),
            *("build.json", "verify.json", "bench.json"),
        ]
    )
    assert json.loads((compiled.bundle / "verify.json").read_text())["passed"] is True
    tried = json.loads((compiled.bundle / "build.json").read_text())["candidates"]
    # No layer of the efficient model has an operator of the runtime's.
    assert {row["name"].partition(",")[0] for row in tried} == {"efficient fp32", "dense fp32", "dense fused fp32"}
    assert {row["runtime"] for row in tried} == {"onnxruntime", "openvino"}
    assert [row["state"] for row in tried].count("shipped") == 2
    assert len(opened.arrays("samples")["input.pixel_values"]) == 8
    assert len(opened.arrays("eval")["label.classes"]) == 64


def test_the_terminal_shows_the_result_and_where_it_lies(compiled):
    out = compiled.first.stdout
    assert re.search(r"^metric +shipped +teacher +floor$", out, re.MULTILINE)
    assert re.search(r"^teacher_agreement +\S+ +1 +0.5 +passed$", out, re.MULTILINE)
    assert re.search(r"^- +efficient +fp32 +\d", out, re.MULTILINE)
    assert f"bundle: {compiled.bundle}\nreport: {compiled.bundle / 'report.html'}\n" in out


def test_the_terminal_shows_our_own_lines_alone(compiled):
    """Libraries print much that a user can do nothing about."""
    lines = compiled.first.stderr.splitlines()
    ours = re.compile(rf"({'|'.join(STAGES)}): |(transfer|finetune|\S+) goes on from its checkpoint ")
    assert [line for line in lines if not ours.match(line)] == []
    assert list(outcomes(compiled.first.stderr)) == list(STAGES)


def test_a_killed_compile_goes_on_from_its_checkpoint(compiled):
    assert "distill: started" in compiled.killed
    assert "distill: done" not in compiled.killed
    went_on = compiled.first.stderr
    before = outcomes(went_on)
    assert [before[stage] for stage in ("preflight", "teacher", "data", "convert")] == ["from the store"] * 4
    assert "transfer goes on from its checkpoint at step 6 of 6\n" in went_on
    phases = Bundle.open(compiled.bundle).manifest.training["distill"]
    assert phases["transfer"]["resumed_from"] == 6
    step = phases["finetune"]["resumed_from"]
    assert 3 <= step < 30
    assert f"finetune goes on from its checkpoint at step {step} of 30\n" in went_on
    assert list((compiled.folder / "cache" / "work").iterdir()) == []  # nothing is left behind


def test_a_second_compile_takes_every_stage_from_the_store(compiled, tmp_path):
    again = edgeattn(compiled.folder, "compile", "small.yaml", "--out", str(tmp_path / "again"), "--json")
    assert again.returncode == 0, again.stderr
    assert outcomes(again.stderr) == dict.fromkeys(STAGES, "from the store")
    document = json.loads(again.stdout)  # one document and nothing else
    assert document["bundle"] == str(tmp_path / "again")
    manifest = Bundle.open(tmp_path / "again").manifest
    assert document["manifest"] == manifest.model_dump(mode="json")
    assert manifest.provenance == Bundle.open(compiled.bundle).manifest.provenance


def test_optimum_cli_makes_the_same_bundle(compiled, tmp_path):
    root, packages = Path(__file__).parents[2], sysconfig.get_paths()["purelib"]
    # Without this environment's own .pth file, which may name another checkout, whose command would come on top.
    program, out = "from optimum.commands.optimum_cli import main; main()", tmp_path / "bundle"
    done = subprocess.run(
        [sys.executable, "-S", "-c", program, "export", "edgeattn", "--recipe", "small.yaml", str(out)],
        cwd=compiled.folder, capture_output=True, text=True, check=False,
        env={**environment(compiled.folder / "cache"), "PYTHONPATH": os.pathsep.join((str(root), packages))},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert outcomes(done.stderr) == dict.fromkeys(STAGES, "from the store")
    assert Bundle.open(out).manifest.provenance == Bundle.open(compiled.bundle).manifest.provenance


@pytest.mark.slow
def test_an_impossible_floor_ends_with_1_and_no_bundle(compiled, tmp_path):
    """With --fresh, in a copy of the cache: nothing that it holds (teacher, data) is taken."""
    shutil.copytree(compiled.folder / "cache", tmp_path / "cache")
    untrained = re.sub(r"distill:\n(  .*\n)+", "", RECIPE)
    (tmp_path / "small.yaml").write_text(untrained.replace("of_teacher: 0.5", "of_teacher: 1.0"))
    failed = edgeattn(tmp_path, "compile", "small.yaml", "--out", "bundle", "--fresh")
    assert failed.returncode == 1, failed.stderr
    assert re.search(
        r"^error: build: no candidate for the efficient model keeps the accuracy floor: the best, efficient fp32, "
        r"[\w ]+, has teacher_agreement 0\.\d{4}, the floor is 1\.0000\n  fix: distill for more steps",
        failed.stderr, re.MULTILINE,
    )  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "small.yaml"]
    assert list(outcomes(failed.stderr)) == list(HERE)
    assert "from the store" not in failed.stderr


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """The profile of a device that is another machine."""
    (tmp_path / "board.yaml").write_text("schema: 1\nextends: cpu\ndescription: A board\nprobe: false\n")
    return tmp_path / "board.yaml"


@pytest.mark.slow
def test_one_target_that_fails_does_not_lose_another(compiled, tmp_path, board):
    shutil.copytree(compiled.folder / "cache", tmp_path / "cache")
    (tmp_path / "small.yaml").write_text(RECIPE.replace("of_teacher: 0.5", "of_teacher: 1.0"))
    targets = ("--target", "cpu", "--target", str(board))
    both = edgeattn(tmp_path, "compile", "small.yaml", *targets, "--out", "both", "--json")
    assert both.returncode == 1, both.stderr
    here, there = json.loads(both.stdout)
    assert (here["target"], here["error"]["where"], here["error"]["exit_code"]) == ("cpu", "build", 1)
    assert (there["target"], there["document"]["bundle"]) == ("board", str(tmp_path / "both" / "board"))
    assert [path.name for path in (tmp_path / "both").iterdir()] == ["board"]
    assert not Bundle.open(tmp_path / "both" / "board").manifest.engines
    shared = ["teacher", "data", "convert", "distill"]
    ended = re.findall(r"^(\w+): done, ", both.stderr, re.MULTILINE)
    assert ended == ["preflight", "preflight", *HERE[1:], *shared, *HERE[5:]]


def test_a_bundle_for_an_orin_is_made_here_and_built_where_the_files_are_an_orins(compiled, tmp_path):
    shutil.copytree(compiled.folder / "cache", tmp_path / "cache")
    methods = "[fp16, int8, int8-fp16]"
    (tmp_path / "small.yaml").write_text(RECIPE.replace("[fp32]", methods))
    made = edgeattn(tmp_path, "compile", "small.yaml", "--target", "jetson", "--out", "orin")
    assert made.returncode == 0, made.stderr
    assert outcomes(made.stderr)["distill"] == "from the store"
    assert "follow" in made.stdout
    assert "orin/install.md" in made.stdout
    bundle = Bundle.open(tmp_path / "orin")
    assert not bundle.manifest.engines
    wanted = {f"{side} {method}" for side in ("efficient", "dense") for method in ("fp16", "int8", "int8-fp16")}
    assert {candidate.name for candidate in bundle.manifest.candidates} == wanted
    checked = json.loads((tmp_path / "orin" / "check.json").read_text())["candidates"]
    assert {each["name"] for each in checked} == wanted
    assert all(release["passed"] for each in checked for release in each["releases"])
    assert all(each["preflight"]["passed"] for each in checked)
    tree = Path(__file__).parents[1] / "devices" / "trees" / "orin-nano-8gb"
    for command in ("build", "verify"):
        done = subprocess.run(
            [sys.executable, str(Path(__file__).with_name("hasty.py")), command, "orin", "--json"],
            cwd=tmp_path, env={**environment(tmp_path / "cache"), "EDGEATTN_ROOT": str(tree)},
            capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "orin" / "build.json").read_text())
    assert "tensorrt" in document["runtimes_left_out"]
    assert document["runtimes"].keys() == {"onnxruntime"}
    assert {row["method"] for row in document["candidates"] if row["state"] != "failed"} == {"fp16", "int8"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("--target", "cpu", "--host", "pi"),
            "--host pi says where one target is, and 2 are named\n  fix: compile each",
        ),
        (("--target", "cpu", "--target", "cpu"), "--target names cpu twice\n  fix: name each target once"),
    ],
)
def test_targets_and_hosts_that_do_not_go_together(tmp_path, board, monkeypatch, capsys, arguments, said):
    (tmp_path / "small.yaml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEATTN_CACHE", str(tmp_path / "cache"))
    assert run(["compile", "small.yaml", "--target", str(board), *arguments]) == 2
    assert said in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["board.yaml", "small.yaml"]


def test_all_targets_are_checked_before_anything_is_trained(tmp_path, board):
    (tmp_path / "small.yaml").write_text(RECIPE)
    board.write_text(board.read_text() + "runtimes: [{name: onnxruntime, opset: [17, 21], methods: [int8]}]\n")
    refused = edgeattn(tmp_path, "compile", "small.yaml", "--target", "cpu", "--target", str(board))
    assert refused.returncode == 2
    assert "board runs none of fp32\n" in refused.stderr
    assert list(outcomes(refused.stderr)) == ["preflight"]
    assert not (tmp_path / "bundles").exists()


def test_what_a_late_stage_would_refuse_is_refused_before_the_first(tmp_path):
    text = RECIPE.replace("bench: {pairs: 3}", "bench: {lengths: [64]}").replace(
        "quantize:", "export: {opset: 26}\nquantize:"
    )
    (tmp_path / "small.yaml").write_text(text)
    refused = edgeattn(tmp_path, "compile", "small.yaml", "--out", "bundle")
    assert refused.returncode == 2, refused.stderr
    assert "small.yaml:27: export.opset: opset 26 is not one that cpu runs\n    fix: use 17 to 21\n" in refused.stderr
    assert "small.yaml:30: bench.lengths: the inputs of the model have one size\n    fix: remove it\n" in refused.stderr
    assert outcomes(refused.stderr) == {}


def test_an_unknown_target_is_refused_with_the_known(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEATTN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "small.yaml").write_text(RECIPE)
    assert run(["compile", "small.yaml", "--target", "cpus"]) == 2
    assert "error: unknown device 'cpus'\n  fix: did you mean 'cpu'?" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["small.yaml"]


def test_a_bundle_for_another_device_is_not_built_on_this_host(tmp_path, monkeypatch, capsys):
    """Its engines used to be built and timed on this machine under the name of the other device."""
    devices = tmp_path / "devices"
    devices.mkdir()
    shutil.copyfile(shipped("devices") / "cpu.yaml", devices / "cpu.yaml")
    (devices / "board.yaml").write_text("schema: 1\nextends: cpu\ndescription: A board\nprobe: false\n")
    monkeypatch.setattr("edgeattn.devices.load.shipped", lambda _kind: devices)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEATTN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "small.yaml").write_text(RECIPE)
    assert run(["compile", "small.yaml", "--target", "board", "--host", "local"]) == 4
    assert "error: --host: local is not board: " in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["devices", "small.yaml"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("heads: 2", "heads: 3", "3 does not divide hidden_size 16"),
        ("variant: hedgehog}", "variant: hedgehgo}", "did you mean 'hedgehog'"),
        ("layers: [1]", "layers: [1], layer: 2", "layer"),
        ("builtin:digits", "missing.csv", "no file or folder 'missing.csv'"),
    ],
)
def test_a_wrong_recipe_is_refused_and_nothing_is_written(tmp_path, monkeypatch, capsys, old, new, said):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEATTN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "small.yaml").write_text(RECIPE.replace(old, new, 1))
    assert run(["compile", "small.yaml"]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert "small.yaml:" in err
    assert [path.name for path in tmp_path.iterdir()] == ["small.yaml"]


def test_a_folder_that_is_no_bundle_is_not_overwritten(compiled, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.txt").write_text("years of work")
    refused = edgeattn(compiled.folder, "compile", "small.yaml", "--out", str(home))
    assert refused.returncode == 2
    assert "is neither empty nor a bundle" in refused.stderr
    assert outcomes(refused.stderr) == {}  # before any work
    assert [path.name for path in home.iterdir()] == ["thesis.txt"]


# --- what is done with the bundle ---------------------------------------------------------------------------


def test_four_lines_of_plain_onnxruntime_run_it(compiled):
    samples = np.load(compiled.bundle / "samples.npz")
    # --- the four lines
    import onnxruntime

    session = onnxruntime.InferenceSession(compiled.bundle / "model.onnx")
    (logits,) = session.run(["logits"], {"pixel_values": samples["input.pixel_values"]})
    # ---
    np.testing.assert_allclose(logits, samples["student.logits"], atol=1e-4)


def test_transformers_opens_it(compiled):
    import torch
    from transformers.exporters import ExportedModel

    samples = np.load(compiled.bundle / "samples.npz")
    model = ExportedModel.from_pretrained(compiled.bundle)
    logits = model(pixel_values=torch.from_numpy(samples["input.pixel_values"][:3])).logits
    np.testing.assert_allclose(np.asarray(logits), samples["student.logits"][:3], atol=1e-4)


def test_verify_passes(bundle, capsys):
    assert run(["verify", str(bundle), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["passed"] is True
    assert document["metrics"]["teacher_agreement"]["value"] >= 0.5
    assert json.loads((bundle / "verify.json").read_text()) == document
    Bundle.open(bundle)


def test_bench_measures_three_pairs(bundle):
    done = edgeattn(bundle.parent, "bench", "bundle", "--quick", "--pairs", "3", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    (cell,) = document["cells"]
    assert cell["speedups"]["efficient"]["pairs"] == 3
    assert cell["contestants"]["dense"]["p50_ms"] > 0
    assert json.loads((bundle / "bench.json").read_text()) == document
    assert "small-digits" in (bundle / "report.html").read_text()
    Bundle.open(bundle)


@pytest.mark.parametrize("command", ["verify", "bench"])
def test_a_tampered_graph_is_refused_before_it_is_loaded(bundle, command, capsys):
    graph = bundle / "model.onnx"
    content = bytearray(graph.read_bytes())
    content[len(content) // 2] ^= 1
    graph.write_bytes(content)
    assert run([command, str(bundle)]) == 2
    assert "model.onnx: was changed: its digest is sha256:" in capsys.readouterr().err
