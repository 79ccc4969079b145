"""The outputs of every candidate of an unbuilt bundle, on its held-out samples, in ONNX Runtime on this machine.

Run: python candidate_outputs.py BUNDLE OUT.npz. It needs the device half only, and so also runs on a device.
OUT.npz has, for each candidate and output, an array "<candidate>|<output>" [samples, ...].
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from edgeattn.bench.inputs import one_by_one, save_feeds
from edgeattn.bench.leg import Engine, Leg
from edgeattn.bundle import Bundle
from edgeattn.padding import stack
from edgeattn.runtimes import RUNTIMES
from edgeattn.scratch import scratch

BATCH = 50


def main(folder: Path, out: Path) -> None:
    bundle = Bundle.open(folder)
    feeds = list(one_by_one(bundle.manifest, bundle.arrays("eval"), BATCH))
    found = {}
    for candidate in bundle.manifest.candidates:
        if "onnxruntime" not in candidate.runtimes:
            continue
        root = folder / candidate.folder
        with scratch("outputs") as work:
            RUNTIMES["onnxruntime"].build(root / candidate.graph, work / "engine", method=candidate.method)
            save_feeds(work / "first.npz", feeds[:1])
            with Leg(candidate.name, Engine(root, work / "engine", "onnxruntime", 1), work / "first.npz") as leg:
                answers = leg.answer(feeds)
        for name in answers[0]:
            found[f"{candidate.name}|{name}"] = stack([answer[name] for answer in answers])
    np.savez(out, **found)  # type: ignore[arg-type]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
