"""The stages that make and prove a bundle: bundle, verify, bench."""

from __future__ import annotations

import json
import shutil
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edgeattn.bundle import Bundle, EngineRef, Manifest, TensorSpec, write
from edgeattn.devices import DeviceProfile
from edgeattn.errors import VerificationError
from edgeattn.progress import Progress
from edgeattn.recipe.schema import Recipe
from edgeattn.stage import versions
from edgeattn.stages.evidence import bench_spec, load, task_spec
from edgeattn.store import Artifact, sha256_file, write_json


def assemble(
    recipe: Recipe,
    document: dict[str, Any],
    device: DeviceProfile,
    teacher: Artifact,
    student: Artifact,
    trained: Artifact,
    graphs: Artifact,
    engines: Artifact,
    out: Path,
) -> dict[str, Any]:
    """Lays the bundle's folder out and writes its manifest."""
    for file in graphs.path.iterdir():
        if ".onnx" not in file.name:
            shutil.copyfile(file, out / file.name)
    shutil.copytree(engines.path, out, dirs_exist_ok=True)
    runtime, choice = engines.meta["runtime"], engines.meta["choice"]
    references = {
        side: EngineRef(runtime=runtime, path=f"engine/{side}", graph=graph, precision=choice[side]["precision"])
        for side, graph in (("efficient", "model.onnx"), ("dense", "dense.onnx"))
    }
    manifest = Manifest(
        name=recipe.name,
        description=recipe.description,
        created_utc=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        recipe=document,
        plan=student.meta["plan"],
        target=device.model_dump(mode="json"),
        inputs=tuple(TensorSpec.model_validate_json(text) for text in graphs.meta["inputs"]),
        outputs=tuple(TensorSpec.model_validate_json(text) for text in graphs.meta["outputs"]),
        task=task_spec(recipe, load(graphs.path / "eval.npz")),
        bench=bench_spec(recipe, sequence=graphs.meta["sequence"], limit=graphs.meta["max_length"]),
        engines=references,
        provenance={
            "teacher": sha256_file(teacher.path / "model.safetensors"),
            "student": sha256_file(trained.path / "model.safetensors"),
            "graph": sha256_file(out / "model.onnx"),
            "engine": sha256_file(out / "engine" / "efficient" / "engine.json"),
        },
        libraries=versions("torch", "transformers", "onnx", "onnxscript", "onnxruntime"),
        choice={
            **choice,
            "distill": trained.meta["phases"],
            "untrained": student.meta["scores"],
            "student": graphs.meta["scores"],
        },
    )
    bundle = write(out, manifest)
    size = sum(entry.bytes for entry in bundle.manifest.files.values())
    return {"note": f"{len(bundle.manifest.files)} files, {size / 1e6:.0f} MB"}


def verify(bundle: Path, out: Path) -> dict[str, Any]:
    """Checks the built engine against student and teacher. Raises VerificationError where it fails."""
    from edgeattn.bench.accuracy import check

    document = check(Bundle.open(bundle))
    if not document["passed"]:
        raise VerificationError(
            "; ".join(document["reasons"]),
            where="verify",
            fix="distil for more steps, or lower accept.of_teacher",
        )
    write_json(out / "verify.json", document)
    shown = [f"{name} {facts['value']:.4f}" for name, facts in document["metrics"].items() if facts["value"]]
    return {"note": ", ".join(shown)}


def bench(bundle: Path, out: Path, work: Path, progress: Progress) -> dict[str, Any]:
    """Times the dense and the efficient engine side by side."""
    from edgeattn.bench.protocol import Protocol
    from edgeattn.bench.session import run
    from edgeattn.report.text import length, verdict

    copy = work / "bundle"
    shutil.rmtree(copy, ignore_errors=True)  # of a run that was killed
    shutil.copytree(bundle, copy)
    document = run(Bundle.open(copy), protocol=Protocol.quick(), progress=progress)
    write_json(out / "bench.json", document)
    shown = [f"{length(cell)} tokens: {verdict(cell['speedup'])}" for cell in document["cells"]]
    return {"note": ", ".join(shown).replace("- tokens: ", "")}


def record(bundle: Bundle, verified: Path, timed: Path) -> None:
    """Puts the evidence of the stages verify and bench into the bundle."""
    bundle.record("verify.json", json.loads((verified / "verify.json").read_text()))
    bundle.record("bench.json", json.loads((timed / "bench.json").read_text()))
