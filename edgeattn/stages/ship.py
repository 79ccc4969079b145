"""The stages that make a bundle, and those that the target's host runs on it: build, verify, bench."""

from __future__ import annotations

import hashlib
import json
import shutil
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edgeattn.bundle import Bundle, Candidate, Manifest, write
from edgeattn.errors import VerificationError
from edgeattn.jobs import Bench, Build, DeviceJob, Verify
from edgeattn.manifest import DecodeGraph, PlanEntry, read_manifest
from edgeattn.models.files import weight_files, weights_digest
from edgeattn.recipe import to_document
from edgeattn.stage import Job, versions
from edgeattn.stages.evidence import bench_spec, load, task_spec
from edgeattn.stages.export import exported_interface
from edgeattn.store import Artifact, copy_folder, sha256_file, write_json

# The packages whose versions a bundle names.
NAMED_LIBRARIES = ("torch", "transformers", "onnx", "onnxscript", "nncf")


def assemble(job: Job) -> dict[str, Any]:
    """Fills the folder of a bundle that is not built yet, and writes its manifest."""
    recipe, out = job.recipe, job.out
    graphs = job.path("export")
    for file in graphs.iterdir():
        if ".onnx" not in file.name:
            shutil.copyfile(file, out / file.name)
    copy_folder(job.path("quantize"), out)
    for file in job.path("check").iterdir():
        shutil.copyfile(file, out / file.name)
    facts, checked = job.facts("export"), job.facts("check")
    interface, decode = exported_interface(facts), job.facts("quantize").get("decode", {})
    manifest = Manifest(
        name=recipe.name,
        description=recipe.description,
        created_utc=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        recipe=to_document(recipe),
        plan=tuple(PlanEntry.model_validate(entry) for entry in job.facts("convert")["plan"]),
        target=job.device.model_dump(mode="json"),
        **dict(interface),
        task=task_spec(recipe, load(graphs / "eval.npz")),
        bench=bench_spec(recipe, interface),
        candidates=tuple(Candidate.model_validate_json(text) for text in checked["candidates"]),
        prefer=recipe.quantize.prefer,
        decode={side: DecodeGraph.model_validate_json(text) for side, text in decode.get("graphs", {}).items()},
        no_decode=decode.get("left_out"),
        provenance={
            "teacher": weights_digest(weight_files(job.path("teacher"))),
            "student": weights_digest(weight_files(job.path("distill"))),
            "graph": sha256_file(graphs / "efficient.onnx"),
        },
        libraries=versions(*NAMED_LIBRARIES),
        training={
            "distill": job.facts("distill")["phases"],
            "untrained": job.facts("convert")["scores"],
            "student": facts["scores"],
        },
    )
    bundle = write(out, manifest)
    size = sum(entry.bytes for entry in bundle.manifest.files.values())
    return {"note": f"{len(manifest.candidates)} candidates, {len(bundle.manifest.files)} files, {size / 1e6:.0f} MB"}


def build(job: Job) -> dict[str, Any]:
    """The target's host builds the bundle: engines of all candidates, timed and scored; the best ones are kept."""
    document = _on_host(job, "bundle", Build(), keep=job.out)
    return {"document": document, "note": document["efficient"]["because"].partition(";")[0]}


def built_engines(artifact: Artifact) -> str:
    """Digest of what a benchmark of a built bundle depends on: its engines, its samples and its lengths."""
    manifest = read_manifest(artifact.path)
    reads = [
        [name, entry.sha256]
        for name, entry in sorted(manifest.files.items())
        if name.startswith("engine/") or name.endswith((".onnx", ".data", ".npz"))
    ]
    text = json.dumps([reads, manifest.bench.model_dump(mode="json"), manifest.target], sort_keys=True)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def verify(job: Job) -> dict[str, Any]:
    """Checks the built engine against student and teacher. Raises VerificationError where it fails."""
    document = _on_host(job, "build", Verify())
    if not document["passed"]:
        raise VerificationError(
            "; ".join(document["reasons"]),
            where="verify",
            fix="distill for more steps, or lower accept.of_teacher",
        )
    write_json(job.out / "verify.json", document)
    shown = [
        f"{name} {facts['value']:.4f}" for name, facts in document["metrics"].items() if facts["value"] is not None
    ]
    return {"note": ", ".join(shown)}


def bench(job: Job) -> dict[str, Any]:
    """Times the dense and the efficient engine side by side."""
    from edgeattn.report.text import verdicts

    document = _on_host(job, "build", Bench(quick=True))
    write_json(job.out / "bench.json", document)
    return {"note": "; ".join(verdicts(document))}


def _on_host(job: Job, stage: str, work: DeviceJob, keep: Path | None = None) -> dict[str, Any]:
    """Runs a job on a copy of the bundle that `stage` made. keep: the folder for the copy, if it is the result."""
    copy = keep or job.work / "bundle"  # the results are recorded in it
    if keep is None:
        shutil.rmtree(copy, ignore_errors=True)  # of a run that was killed
    copy_folder(job.path(stage), copy)
    return job.host.run(work, copy, job.progress)


def record(bundle: Bundle, verified: Path, timed: Path) -> None:
    """Puts the results of the stages verify and bench into the bundle, and the report."""
    from edgeattn.report.html import refresh

    bundle.record("verify.json", json.loads((verified / "verify.json").read_text()))
    bundle.record("bench.json", json.loads((timed / "bench.json").read_text()))
    refresh(bundle)
