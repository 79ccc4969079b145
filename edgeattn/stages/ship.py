"""The stages that make, check and time a bundle: bundle, verify, bench."""

from __future__ import annotations

import json
import shutil
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edgeattn.bundle import Bundle, EngineRef, Manifest, write
from edgeattn.errors import VerificationError
from edgeattn.manifest import PlanEntry
from edgeattn.models.files import weight_files, weights_digest
from edgeattn.quantize import METHODS
from edgeattn.recipe import to_document
from edgeattn.stage import Job, versions
from edgeattn.stages.evidence import bench_spec, load, task_spec
from edgeattn.stages.export import exported_interface
from edgeattn.store import copy_folder, sha256_file, write_json

# The packages whose versions a bundle names.
NAMED_LIBRARIES = ("torch", "transformers", "onnx", "onnxscript", "onnxruntime")


def assemble(job: Job) -> dict[str, Any]:
    """Fills the bundle's folder and writes its manifest."""
    recipe, out = job.recipe, job.out
    graphs, engines = job.path("export"), job.path("build")
    for file in graphs.iterdir():
        if ".onnx" not in file.name:
            shutil.copyfile(file, out / file.name)
    copy_folder(engines, out)
    facts, choice = job.facts("export"), job.facts("build")["choice"]
    runtime = job.facts("build")["runtime"]
    interface = exported_interface(facts)
    references = {
        side: EngineRef(
            runtime=runtime,
            path=f"engine/{side}",
            graph=graph,
            method=choice[side]["method"],
            least_cosine=METHODS[choice[side]["method"]].least_cosine,
        )
        for side, graph in (("efficient", "model.onnx"), ("dense", "dense.onnx"))
    }
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
        engines=references,
        provenance={
            "teacher": weights_digest(weight_files(job.path("teacher"))),
            "student": weights_digest(weight_files(job.path("distill"))),
            "graph": sha256_file(out / "model.onnx"),
            "engine": sha256_file(out / "engine" / "efficient" / "engine.json"),
        },
        libraries=versions(*NAMED_LIBRARIES),
        choice={
            **choice,
            "distill": job.facts("distill")["phases"],
            "untrained": job.facts("convert")["scores"],
            "student": facts["scores"],
        },
    )
    bundle = write(out, manifest)
    size = sum(entry.bytes for entry in bundle.manifest.files.values())
    return {"note": f"{len(bundle.manifest.files)} files, {size / 1e6:.0f} MB"}


def verify(job: Job) -> dict[str, Any]:
    """Checks the built engine against student and teacher. Raises VerificationError where it fails."""
    from edgeattn.bench.accuracy import check

    document = check(Bundle.open(job.path("bundle")))
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
    from edgeattn.bench.bundles import bench as measure
    from edgeattn.bench.protocol import Protocol
    from edgeattn.report.text import verdicts

    document = measure([Bundle.open(job.path("bundle"))], protocol=Protocol.quick(), progress=job.progress)
    write_json(job.out / "bench.json", document)
    return {"note": "; ".join(verdicts(document))}


def record(bundle: Bundle, verified: Path, timed: Path) -> None:
    """Puts the results of the stages verify and bench into the bundle, and the report."""
    from edgeattn.report.html import refresh

    bundle.record("verify.json", json.loads((verified / "verify.json").read_text()))
    bundle.record("bench.json", json.loads((timed / "bench.json").read_text()))
    refresh(bundle)
