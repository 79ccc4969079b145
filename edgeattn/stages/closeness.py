"""Whether a graph computes what the model that it was made from computes, on the golden samples."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeattn.bundle import Interface
from edgeattn.errors import VerificationError
from edgeattn.manifest import DecodeGraph, Side


def checked(
    graph: Path,
    interface: Interface,
    golden: Mapping[str, Any],
    side: Side,
    least_cosine: float,
    decode: DecodeGraph | None = None,
) -> float:
    """The least cosine of the graph's outputs to the golden ones of its side, in ONNX Runtime on this machine.

    decode: of a graph of one token, which then reads the samples token by token.
    Raises VerificationError where it is less than `least_cosine`, or an output is not finite.
    """
    from edgeattn.bench.engines import GOLDEN_OF
    from edgeattn.bench.golden import drifts
    from edgeattn.bench.inputs import one_by_one, save_feeds
    from edgeattn.bench.leg import Engine, Leg
    from edgeattn.runtimes import RUNTIMES
    from edgeattn.scratch import scratch

    against = GOLDEN_OF[side]
    feeds = list(one_by_one(interface, golden))
    with scratch("golden") as folder:
        save_feeds(folder / "first.npz", feeds[:1])
        if decode is None:
            RUNTIMES["onnxruntime"].build(graph, folder / "engine", method="fp32")
        engine = Engine(graph.parent, folder / "engine", "onnxruntime", decode=decode)
        with Leg(f"golden samples of {graph.parent.name}", engine, folder / "first.npz") as leg:
            answers = leg.answer(feeds)
    cosines = [drift.min_cosine for drift in drifts(answers, golden, against).values()]
    found = [cosine for cosine in cosines if cosine is not None]
    if len(found) < len(cosines):
        raise VerificationError(f"outputs that are not finite, where the {against}'s are")
    if min(found) < least_cosine:
        raise VerificationError(f"cosine {min(found):.4f} to the {against}, {least_cosine} is required")
    return min(found)
