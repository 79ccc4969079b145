"""This project's own gate: digits-vit of this checkout against that of the commit it goes into.

Run: python -m benchmarks.own_gate [--base COMMIT] [--out FOLDER]

Both are compiled here from nothing, each by its own code, with one runtime and method and chosen by size, so that no
noise of timing changes what ships; then `edgeattn gate --quick` compares them. Accuracy, size, nodes and memory
block; latency and energy are advisory, because this runs on shared machines. The base is where HEAD left main; on main
itself, which gets many commits at once, the newest that is three hours older. Exits as the gate does, with 3
(INCONCLUSIVE) as a warning.

A commit that makes a metric worse on purpose says so in its message, in a line "Accepts-worse: METRIC, reason", such as
"Accepts-worse: nodes, the head is exported unfused": that metric is then advisory until the commit is in the base.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[1]
MAIN = "main"
AT_ONCE_S = 3 * 3600  # commits of main within it land together
ADVISORY = ("p50", "energy")
_ACCEPTS = re.compile(r"^Accepts-worse: *([a-z0-9_]+)", re.MULTILINE)
_TARGET = {
    "schema": 1,
    "extends": "cpu",
    "description": "This machine, with one runtime and method",
    "runtimes": [{"name": "onnxruntime", "min_version": "1.20", "opset": [17, 21], "methods": ["fp32"]}],
}


def base_commit(root: Path = ROOT) -> str | None:
    """Where HEAD left main, or on main an older commit; None in a checkout without that history."""
    head = _git(root, "rev-parse", "HEAD")
    for name in (MAIN, f"origin/{MAIN}"):
        found = _git(root, "merge-base", "HEAD", name)
        if found and found != head:
            return found
    before = int(_git(root, "log", "-1", "--format=%ct") or 0) - AT_ONCE_S
    return _git(root, "rev-list", "-1", f"--before={before}", "HEAD") or _git(root, "rev-parse", "--verify", "HEAD~1")


def accepted(base: str, root: Path = ROOT) -> list[str]:
    """The metrics that the commits after `base` say they make worse on purpose."""
    return sorted(set(_ACCEPTS.findall(_git(root, "log", "--format=%B", f"{base}..HEAD") or "")))


def unpack(base: str, folder: Path, root: Path = ROOT) -> Path:
    """The files of a commit, in `folder`; the repository stays as it is."""
    folder.mkdir(exist_ok=True)
    packed = subprocess.run(["git", "archive", base], cwd=root, stdout=subprocess.PIPE, check=True).stdout
    subprocess.run(["tar", "-x"], cwd=folder, input=packed, check=True)
    return folder


class DoesNotBuild(Exception):
    """A bundle that a tree does not make; the end of its log."""


def compile_with(tree: Path, folder: Path) -> Path:
    """The bundle of digits-vit that the edgeattn in `tree` makes, in `folder`, with a store of its own."""
    recipe = (tree / "recipes" / "digits-vit.yaml").read_text()
    folder.mkdir()
    (folder / "digits-vit.yaml").write_text(f"{recipe}\nquantize: {{methods: [fp32], prefer: size}}\n")
    (folder / "one.yaml").write_text(json.dumps(_TARGET))  # JSON is YAML
    bundle, cache = folder / "bundle", folder / "cache"
    compiled = ["compile", str(folder / "digits-vit.yaml"), "--target", str(folder / "one.yaml"), "--host", "none"]
    with (folder / "log").open("w") as log:
        # Without a host, compile stops before its own verify and bench: the gate does both.
        for command in ([*compiled, "--out", str(bundle)], ["build", str(bundle)]):
            if _edgeattn(tree, *command, cache=cache, output=log):
                raise DoesNotBuild(f"{command[0]} failed:\n{(folder / 'log').read_text()[-4000:]}")
    return bundle


def main() -> int:
    """The exit code."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--base", help="The commit to compare with.")
    options.add_argument("--out", type=Path, default=ROOT / "build" / "gate", help="Folder for the gate's documents.")
    given = options.parse_args()
    base = given.base or base_commit()
    if base is None:
        print("own gate: skipped, this checkout has no commit to compare with (fetch the history of main)")
        return 0
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="edgeattn-own-gate-") as name:
        folder = Path(name)
        tree = unpack(base, folder / "tree")
        with ThreadPoolExecutor(2) as pool:
            old, new = (pool.submit(compile_with, *each) for each in ((tree, folder / "base"), (ROOT, folder / "head")))
        candidate = new.result()
        try:
            baseline = old.result()
        except DoesNotBuild as error:  # with the libraries of this checkout, which are not those of the base
            print(f"own gate: warning: not compared, {base[:12]} makes no bundle here: {error}")
            return 0
        print(f"own gate: two bundles after {time.monotonic() - started:.0f} s", flush=True)
        arguments = [str(candidate), "--baseline", str(baseline), "--quick", "--out", str(given.out)]
        for metric in (*ADVISORY, *accepted(base)):
            arguments += ["--advisory", metric]
        code = _edgeattn(ROOT, "gate", *arguments, cache=folder / "gate")
    print(f"own gate: against {base[:12]}, exit code {code}, {time.monotonic() - started:.0f} s")
    if code == 3:
        print("own gate: warning: INCONCLUSIVE")
    return 0 if code == 3 else code


def _edgeattn(tree: Path, *arguments: str, cache: Path, output: object = None) -> int:
    """Runs the edgeattn in `tree` and returns its exit code. Two run at once, so each has one thread."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "EDGEATTN_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "edgeattn", *arguments]
    return subprocess.run(command, cwd=tree, env=environment, stdout=output, stderr=output, check=False).returncode  # type: ignore[call-overload]


def _git(root: Path, *arguments: str) -> str | None:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


if __name__ == "__main__":
    raise SystemExit(main())
