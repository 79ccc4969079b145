"""Building on a device over SSH: the whole bundle comes back, and compile does all of it in one command."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_bundle

from edgeattn.bundle import Bundle
from edgeattn.cli.main import run

HASTY = Path(__file__).parent.parent / "e2e" / "hasty.py"
RECIPE = """\
schema: 1
name: small-digits
description: Digits by a tiny vision transformer
model:
  {architecture: vit, image_size: 8, patch_size: 2, channels: 1, hidden_size: 16, layers: 1, heads: 2, mlp_size: 32,
   train: {epochs: 2}}
task: {kind: image-classification, labels: 10}
data:
  train: {source: "builtin:digits", split: train, columns: {image: image, label: label}, limit: 128}
  eval: {source: "builtin:digits", split: test, columns: {image: image, label: label}, limit: 32}
attention: [{layers: all, variant: hedgehog}]
quantize: {methods: [fp32]}
accept: {metric: teacher_agreement, of_teacher: 0.3}
bench: {pairs: 3}
"""


@pytest.fixture
def unbuilt(tmp_path):
    return tiny_bundle.make(tmp_path / "unbuilt", candidates={"fp32": tiny_bundle.graph()})


def test_a_bundle_that_was_built_there_is_whole_here(device, unbuilt, capsys):
    assert run(["build", str(unbuilt.path), "--host", "board", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    built = Bundle.open(unbuilt.path)
    assert set(built.manifest.engines) == {"efficient", "dense"}
    assert built.manifest.candidates == ()
    assert not (unbuilt.path / "candidates").exists()
    assert json.loads((unbuilt.path / "build.json").read_text()) == document
    assert run(["verify", str(unbuilt.path)]) == 0


def test_a_build_that_fails_there_changes_nothing_here(device, tmp_path, capsys):
    bundle = tiny_bundle.make(tmp_path / "wrong", candidates={"fp32": tiny_bundle.graph(seed=5)})
    before = (bundle.path / "bundle.json").read_bytes()
    assert run(["build", str(bundle.path), "--host", "board"]) == 1
    assert "on board: " in capsys.readouterr().err
    assert (bundle.path / "bundle.json").read_bytes() == before
    Bundle.open(bundle.path)


def comparable(bundle: Bundle) -> dict[str, object]:
    """What does not depend on times: all but which of the candidates was the fastest."""
    manifest = bundle.manifest.model_dump(mode="json", exclude={"engines", "files", "created_utc"})
    build = json.loads((bundle.path / "build.json").read_text())
    tried = sorted((row["name"], row["cosine"], row["bytes"]) for row in build["candidates"])
    return {"manifest": manifest, "tried": tried, "floor": build["floor"]}


@pytest.mark.slow
@pytest.mark.slow
def test_a_compile_for_a_host_is_one_for_this_machine_but_for_times(device, tmp_path):
    """Two hosts side by side; the model is trained once, since what is made here does not depend on the host."""
    (tmp_path / "small.yaml").write_text(RECIPE)
    done = subprocess.run(
        [sys.executable, str(HASTY), "compile", "small.yaml", "--out", "out", "--host", "board", "--host", "local"],
        cwd=tmp_path, env={**os.environ, "EDGEATTN_CACHE": str(tmp_path / "cache")},
        capture_output=True, text=True, check=False, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"^distill: done, \d", done.stderr, re.MULTILINE)) == 1, "trained twice"
    there, here = (Bundle.open(tmp_path / "out" / name) for name in ("board", "local"))
    theirs, ours = comparable(there), comparable(here)
    installed = {support["name"] for support in theirs["manifest"]["target"]["runtimes"]}
    ours["tried"] = [row for row in ours["tried"] if any(f", {name}" in row[0] for name in installed)]
    ours["manifest"]["target"] = theirs["manifest"]["target"]
    assert theirs == ours
    for bundle in (here, there):
        assert json.loads((bundle.path / "verify.json").read_text())["passed"] is True
        assert json.loads((bundle.path / "bench.json").read_text())["cells"]
    assert re.search(r"^board +- +efficient ", done.stdout, re.MULTILINE)
    assert re.search(r"^local +- +efficient ", done.stdout, re.MULTILINE)
