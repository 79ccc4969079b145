"""A process that runs one stage of four checkpointed steps and, at a given moment, is killed with SIGKILL.

argv: the store's root, the moment ("never" for none), a file that gets one line for each step done
prints: {"cached": ..., "digest": ..., "content": ...}
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
from pathlib import Path

from edgeattn import store

STEPS = 4


def main(root: str, moment: str, steps_done: str, step_s: str = "0") -> None:
    def die_at(now: str) -> None:
        if now == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    def build(out: Path, work: Path) -> dict[str, int]:
        checkpoint = work / "checkpoint.json"
        done = json.loads(checkpoint.read_text())["done"] if checkpoint.exists() else 0
        for step in range(done, STEPS):
            with Path(steps_done).open("a") as log:
                log.write(f"{step}\n")
            time.sleep(float(step_s))
            store.write_json(checkpoint, {"done": step + 1})
            die_at(f"after step {step}")
        with (out / "weights.bin").open("wb", buffering=0) as file:
            file.write(b"a" * 1000)
            die_at("in the middle of a file")
            file.write(b"b" * 1000)
        die_at("before the commit")
        return {"steps": STEPS}

    replace, fsync = Path.replace, store.fsync

    def replace_and_die(self: Path, target: Path) -> Path:
        if target.parent.parent.name == "objects":
            die_at("at the commit")
            replace(self, target)
            die_at("after the commit")
            return target
        return replace(self, target)

    def fsync_and_die(path: Path) -> None:
        if path.name == ".artifact.json.tmp":
            die_at("while the manifest is written")
        fsync(path)

    Path.replace, store.fsync = replace_and_die, fsync_and_die  # type: ignore[method-assign, assignment]
    logging.basicConfig(format="%(message)s")
    artifact = store.Store(Path(root)).run("distill", 1, reads={"steps": STEPS}, build=build)
    content = (artifact.path / "weights.bin").read_text()
    print(json.dumps({"cached": artifact.cached, "digest": artifact.digest, "content": content}))


if __name__ == "__main__":
    main(*sys.argv[1:])
