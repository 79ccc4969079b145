"""The stage that quantizes: every form of both models by every method becomes a candidate, checked here."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

from edgeattn.bundle import Bucket, Candidate, Interface, link
from edgeattn.errors import ToolError, VerificationError
from edgeattn.manifest import CANDIDATES, GRAPHS, SIDES, Side
from edgeattn.stage import Job
from edgeattn.stages.evidence import load
from edgeattn.stages.export import exported_interface
from edgeattn.stages.target import methods_of, runtimes_for
from edgeattn.store import sha256_file

LOG = logging.getLogger("edgeattn")
_GOLDEN_OF = {"dense": "teacher", "efficient": "student"}


def quantize(job: Job) -> dict[str, Any]:
    """Writes one graph for each form and method that a runtime of the target can run.

    A candidate whose outputs are too far from those of the model it was made from is left out, with a warning.
    """
    from edgeattn.export.buckets import fix_length
    from edgeattn.quantize import METHODS
    from edgeattn.quantize.calibration import draw
    from edgeattn.quantize.method import Calibrated

    recipe, device, graphs, out = job.recipe, job.device, job.path("export"), job.out
    facts = job.facts("export")
    supported = methods_of(recipe, device)
    interface = exported_interface(facts)
    golden = load(graphs / "samples.npz")
    wanted = [
        (form, choice, runtimes)
        for form, graph in facts["graphs"].items()
        for choice in recipe.quantize.methods
        if choice.name in supported
        and (METHODS[choice.name].fused or not graph["operators"])
        and (runtimes := runtimes_for(device, choice.name, {*graph["operators"], *METHODS[choice.name].operators}))
    ]
    ranks = list(METHODS)
    train, held_out = (load(job.path("data") / f"{part}.npz") for part in ("train", "eval"))
    calibration = {
        choice.name: draw(train, held_out, interface, samples=choice.options.samples)
        for choice in recipe.quantize.methods
        if choice.name in supported and isinstance(choice.options, Calibrated)
    }
    candidates: list[Candidate] = []
    left_out: list[str] = []
    weights: dict[str, Path] = {}
    axis = interface.length_axis
    lengths = recipe.export.buckets if axis and recipe.export.buckets else ()
    for done, (form, choice, runtimes) in enumerate(wanted):
        side: Side = "dense" if form.startswith("dense") else "efficient"
        shape = form.removeprefix(side).removeprefix("-").lower() or "plain"
        name = " ".join(part for part in (side, shape, choice.name) if part != "plain")
        job.progress.update(done, len(wanted), name)
        method = METHODS[choice.name]
        folder = out / CANDIDATES / name.replace(" ", "-")
        folder.mkdir(parents=True)
        graph = folder / GRAPHS[side]
        try:
            made = method.quantize(
                graphs / f"{form}.onnx", graph,
                cpu=device.cpu, calibration=calibration.get(choice.name, ()), options=choice.options,
            )  # fmt: skip
            cosine = _checked(graph, interface, golden, _GOLDEN_OF[side], method.least_cosine)
        except (ToolError, VerificationError) as error:
            left_out.append(f"{name}: {error.fact}")
            LOG.warning("%s; it is left out", left_out[-1])
            shutil.rmtree(folder)
            continue
        buckets = [Bucket(length=length, graph=f"{graph.stem}-{length}.onnx") for length in lengths]
        for bucket in buckets:
            fix_length(graph, folder / bucket.graph, str(axis), bucket.length)
        _share_weights(folder, weights)
        candidate = Candidate(
            name=name, side=side, form=shape, method=choice.name, rank=ranks.index(choice.name),
            folder=f"{CANDIDATES}/{folder.name}", buckets=tuple(buckets), runtimes=runtimes,
            least_cosine=method.least_cosine, cosine=cosine, facts=made,
        )  # fmt: skip
        candidates.append(candidate)
    for side in SIDES:
        if not any(candidate.side == side for candidate in candidates):
            raise VerificationError(
                f"no graph of the {side} model is left: {'; '.join(left_out)}",
                where="quantize",
                fix="add fp32 to quantize.methods",
            )
    return {
        "candidates": [candidate.model_dump_json() for candidate in candidates],
        "left_out": left_out,
        "note": f"{len(candidates)} candidates" + (f", {len(left_out)} left out" if left_out else ""),
    }


def _share_weights(folder: Path, known: dict[str, Path]) -> None:
    """Keeps one copy of equal weights. known: digest -> the first file with it."""
    for file in folder.glob("*.data"):
        first = known.setdefault(sha256_file(file), file)
        if first is not file:
            file.unlink()
            link(first, file)


def _checked(graph: Path, interface: Interface, golden: dict[str, Any], against: str, least_cosine: float) -> float:
    """The least cosine of the graph's outputs to the golden ones of `against`, in ONNX Runtime on this machine.

    Raises VerificationError where it is less than `least_cosine`, or an output is not finite.
    """
    from edgeattn.bench.golden import drifts
    from edgeattn.bench.inputs import one_by_one, save_feeds
    from edgeattn.bench.leg import Engine, Leg
    from edgeattn.runtimes import RUNTIMES
    from edgeattn.scratch import scratch

    feeds = list(one_by_one(interface, golden))
    with scratch("golden") as folder:
        save_feeds(folder / "first.npz", feeds[:1])
        RUNTIMES["onnxruntime"].build(graph, folder / "engine", method="fp32")
        engine = Engine(graph.parent, folder / "engine", "onnxruntime")
        with Leg(f"golden samples of {graph.parent.name}", engine, folder / "first.npz") as leg:
            answers = leg.answer(feeds)
    cosines = [drift.min_cosine for drift in drifts(answers, golden, against).values()]
    found = [cosine for cosine in cosines if cosine is not None]
    if len(found) < len(cosines):
        raise VerificationError(f"outputs that are not finite, where the {against}'s are")
    if min(found) < least_cosine:
        raise VerificationError(f"cosine {min(found):.4f} to the {against}, {least_cosine} is required")
    return min(found)
