"""What the benchmarks of MiniLM share: its recipe, the STS Benchmark, and compiling as a user would."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeattn.recipe import load_recipe, to_document

REPOSITORY = Path(__file__).resolve().parent.parent
STSB = REPOSITORY.parent / "shared" / "data" / "stsb_en"
RECIPE = "minilm-hedgehog"


def compile_changed(
    folder: Path, name: str, changes: Mapping[str, Any], *arguments: str, cache: Path | None = None
) -> dict[str, Any]:
    """`edgeattn compile` of the recipe with other top-level parts, None to leave one out, into folder/name.

    cache: of the store; folder/cache when None. Returns the document of its --json.
    """
    recipe = {**to_document(load_recipe(RECIPE).recipe), "name": name, **changes}
    file = folder / f"{name}.yaml"
    # JSON is YAML
    file.write_text(json.dumps({key: value for key, value in recipe.items() if value is not None}))
    done = subprocess.run(
        [sys.executable, "-m", "edgeattn", "compile", str(file), "--out", str(folder / name), "--json", *arguments],
        env={**os.environ, "EDGEATTN_CACHE": str(cache or folder / "cache")},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return dict(json.loads(done.stdout))


def stage_seconds(command: Sequence[str], cache: Path) -> tuple[float, dict[str, float]]:
    """Seconds of a command that compiles, whole and by stage; cache: of the store."""
    environment = {**os.environ, "EDGEATTN_CACHE": str(cache)}
    stages = {}
    started = last = time.monotonic()
    with subprocess.Popen(command, cwd=REPOSITORY, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        for line in process.stderr:
            sys.stderr.write(line)
            stage, done, _ = line.partition(": done, ")
            if done:
                now = time.monotonic()
                stages[stage], last = now - last, now
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    return time.monotonic() - started, stages


def stsb_data(folder: Path) -> dict[str, Any]:
    """The recipe part `data` for the STS Benchmark subset, whose files are copied into `folder`.

    The student learns from the train sentences without their scores.
    """
    if not STSB.is_dir():
        raise SystemExit(f"{STSB} is not there: this part needs it")
    for split in ("train", "test"):
        shutil.copyfile(STSB / f"sts-{split}.tsv.gz", folder / f"sts-{split}.tsv.gz")
    names = ["genre", "file", "year", "id", "score", "sentence1", "sentence2", "source1", "source2"]
    columns = {"text": "sentence1", "text_pair": "sentence2"}
    source = {"names": names, "quoting": False}
    return {
        "train": {**source, "source": "sts-train.tsv.gz", "columns": columns},
        "eval": {**source, "source": "sts-test.tsv.gz", "columns": {**columns, "score": "score"}},
    }
