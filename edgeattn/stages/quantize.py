"""The stage that quantizes: every form of both models by every method becomes a candidate, checked here."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

from edgeattn.bench.inputs import Arrays
from edgeattn.bundle import Bucket, Candidate, Interface, link
from edgeattn.errors import EdgeattnError, ToolError, VerificationError
from edgeattn.manifest import CANDIDATES, GRAPHS, SIDES, Side
from edgeattn.recipe.schema import QuantizeMethod
from edgeattn.stage import Job
from edgeattn.stages.closeness import checked
from edgeattn.stages.decode import quantize_decode_graphs
from edgeattn.stages.evidence import load
from edgeattn.stages.export import exported_interface
from edgeattn.stages.target import methods_of, runtimes_for
from edgeattn.store import sha256_file
from edgeattn.validation import Part

LOG = logging.getLogger("edgeattn")


def quantize(job: Job) -> dict[str, Any]:
    """Writes one graph for each form and method that a runtime of the target can run.

    A candidate whose outputs are too far from those of the model it was made from is left out, with a warning.
    Raises ModelError for weights that are not finite.
    """
    from edgeattn.check.parsers import lacking
    from edgeattn.export.buckets import fix_length
    from edgeattn.export.rewrite import write_out_layer_norms
    from edgeattn.quantize import METHODS
    from edgeattn.quantize.weights import require_finite

    recipe, device, graphs, out = job.recipe, job.device, job.path("export"), job.out
    facts = job.facts("export")
    supported = methods_of(recipe, device)
    interface = exported_interface(facts)
    golden = load(graphs / "samples.npz")
    ranks = list(METHODS)
    choices = sorted(recipe.quantize.methods, key=lambda choice: ranks.index(choice.name))
    wanted = [
        (form, choice, runtimes)
        for form, graph in facts["graphs"].items()
        for choice in choices
        if choice.name in supported
        and (METHODS[choice.name].fused or not graph["operators"])
        and (runtimes := runtimes_for(device, choice.name, {*graph["operators"], *METHODS[choice.name].operators}))
    ]
    for form in dict.fromkeys(form for form, _, _ in wanted):
        require_finite(graphs / f"{form}.onnx")
    quantizer = _Quantizer(job, interface)
    without_norm = lacking(device, "LayerNormalization")
    candidates: list[Candidate] = []
    left_out: list[str] = []
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
            made = quantizer(form, choice, graph)
            if without_norm & set(runtimes):
                quantizer.keep(form, choice)
                made["layer_norms_written_out"] = write_out_layer_norms(graph)
            cosine = checked(graph, interface, golden, side, method.least_cosine)
        except (ToolError, VerificationError) as error:
            left_out.append(f"{name}: {error.fact}")
            LOG.warning("%s; it is left out", left_out[-1])
            quantizer.forget(form, choice, error)
            shutil.rmtree(folder)
            continue
        buckets = [Bucket(length=length, graph=f"{graph.stem}-{length}.onnx") for length in lengths]
        for bucket in buckets:
            fix_length(graph, folder / bucket.graph, str(axis), bucket.length)
        candidate = Candidate(
            name=name, side=side, form=shape, method=choice.name, rank=ranks.index(choice.name),
            folder=f"{CANDIDATES}/{folder.name}", buckets=tuple(buckets), runtimes=runtimes,
            least_cosine=method.least_cosine, cosine=cosine, facts=made,
        )  # fmt: skip
        candidates.append(candidate)
    # At the end: onnx_ir refuses files with several links, and a method may go on from a graph.
    weights: dict[str, Path] = {}
    for candidate in candidates:
        _share_weights(out / candidate.folder, weights)
    for side in SIDES:
        if not any(candidate.side == side for candidate in candidates):
            raise VerificationError(
                f"no graph of the {side} model is left: {'; '.join(left_out)}",
                where="quantize",
                fix="add fp32 to quantize.methods",
            )
    decode = quantize_decode_graphs(job, interface, golden)
    return {
        "candidates": [candidate.model_dump_json() for candidate in candidates],
        "left_out": left_out,
        "decode": decode,
        "note": f"{len(candidates)} candidates" + (f", {len(left_out)} left out" if left_out else ""),
    }


class _Quantizer:
    """Quantizes the exported forms, each by a method once: a method may go on from the graph of another."""

    def __init__(self, job: Job, interface: Interface) -> None:
        self._job, self._interface = job, interface
        self._data = [load(job.path("data") / f"{part}.npz") for part in ("train", "eval")]
        self._samples: dict[int, list[Arrays]] = {}
        # (form, method) -> its graph and facts, or why there is none
        self._made: dict[tuple[str, str], tuple[Path, dict[str, Any]] | EdgeattnError] = {}

    def __call__(self, form: str, choice: QuantizeMethod, out: Path) -> dict[str, Any]:
        """Writes the form by the method to `out`. Returns facts; raises ToolError where the method cannot do it."""
        from edgeattn.quantize import METHODS

        method = METHODS[choice.name]
        source = self._job.path("export") / f"{form}.onnx"
        facts: dict[str, Any] = {}
        if method.starts_from is not None:
            source, facts = self._base(form, method.starts_from)
        made = method.quantize(
            source, out,
            cpu=self._job.device.cpu, calibration=self._calibration(choice.options), options=choice.options,
        )  # fmt: skip
        self._made[form, choice.name] = out, {**facts, **made}
        return {**facts, **made}

    def keep(self, form: str, choice: QuantizeMethod) -> None:
        """Another method goes on from a copy of this graph, which is about to be rewritten."""
        from edgeattn.quantize.weights import weights_of

        made = self._made[form, choice.name]
        assert not isinstance(made, EdgeattnError)
        graph, facts = made
        folder = self._job.work / form / choice.name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        shutil.copyfile(graph, folder / graph.name)
        shutil.copyfile(weights_of(graph), folder / weights_of(graph).name)  # onnx opens no hard link
        self._made[form, choice.name] = folder / graph.name, facts

    def forget(self, form: str, choice: QuantizeMethod, error: EdgeattnError) -> None:
        """No method may go on from this graph."""
        self._made[form, choice.name] = error

    def _base(self, form: str, name: str) -> tuple[Path, dict[str, Any]]:
        """The graph that another method goes on from. One that is no candidate lies beside the candidates' folder."""
        if (form, name) not in self._made:
            choices = {choice.name: choice for choice in self._job.recipe.quantize.methods}
            folder = self._job.work / form / name
            folder.mkdir(parents=True, exist_ok=True)
            self(form, choices.get(name) or QuantizeMethod.model_validate(name), folder / f"{form}.onnx")
        found = self._made[form, name]
        if isinstance(found, EdgeattnError):
            raise ToolError(f"{name}, which it goes on from, was left out: {found.fact}")
        return found

    def _calibration(self, options: Part) -> list[Arrays]:
        from edgeattn.quantize.calibration import draw
        from edgeattn.quantize.method import Calibrated

        if not isinstance(options, Calibrated):
            return []
        if options.samples not in self._samples:
            train, held_out = self._data
            self._samples[options.samples] = draw(train, held_out, self._interface, samples=options.samples)
        return self._samples[options.samples]


def _share_weights(folder: Path, known: dict[str, Path]) -> None:
    """Keeps one copy of equal weights. known: digest -> the first file with it."""
    for file in folder.glob("*.data"):
        first = known.setdefault(sha256_file(file), file)
        if first is not file:
            file.unlink()
            link(first, file)
