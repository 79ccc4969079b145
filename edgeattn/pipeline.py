"""The order of the stages, from a recipe to a bundle. Read this page first.

    teacher -> data -> student -> distil -> export -> quantize and build -> bundle -> verify -> bench -> publish

Each stage maps artifacts and its part of the recipe to an artifact in the store; `edgeattn.stages` has their
bodies. A stage that was done before, with the same inputs, comes from the store; one that was killed goes on.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from edgeattn import stages
from edgeattn.bundle import Bundle, check_replaceable, publish
from edgeattn.data.digest import source_digest
from edgeattn.devices import DeviceProfile
from edgeattn.progress import Progress
from edgeattn.recipe import LoadedRecipe, to_document
from edgeattn.report.html import refresh
from edgeattn.scratch import scratch
from edgeattn.stage import Runner
from edgeattn.store import Store

_TORCH = ("torch", "transformers")


def compile_recipe(
    loaded: LoadedRecipe,
    device: DeviceProfile,
    out: Path,
    *,
    store: Store,
    progress: Progress,
    fresh: bool = False,
) -> Bundle:
    """The bundle of a recipe for a device, published at `out`.

    fresh: nothing is taken from the store. Raises an EdgeattnError; `out` is then as it was.
    """
    recipe, root = loaded.recipe, loaded.root
    document = to_document(recipe)
    run = Runner(store, progress, fresh)
    lowering = stages.lowering(device)
    check_replaceable(out)
    sources = [source_digest(source, root) for source in (recipe.data.train, recipe.data.eval)]

    teacher = run(
        "teacher",
        1,
        reads={"model": document["model"], "task": document["task"], "data": document["data"]["train"]},
        inputs=[stages.teacher_digest(recipe, root), *sources[:1]],
        libraries=_TORCH,
        build=lambda out, work: stages.teacher(recipe, root, out, work, progress),
    )
    data = run(
        "data",
        1,
        reads={"data": document["data"], "task": document["task"], "distill": document["distill"]},
        inputs=[teacher, *sources],
        libraries=("transformers", "datasets"),
        build=lambda out, work: stages.data(recipe, root, teacher.path, out),
    )
    student = run(
        "convert",
        1,
        # The last five are only looked at, so that what a later stage would refuse is said before the training.
        reads={
            **{
                part: document[part]
                for part in ("attention", "reduce", "model", "accept", "bench", "export", "quantize")
            },
            "device": device.model_dump(mode="json"),
        },
        inputs=[teacher, data],
        libraries=_TORCH,
        build=lambda out, work: stages.student(recipe, device, teacher.path, data.path, out),
    )
    trained = run(
        "distill",
        1,
        reads={"distill": document["distill"], "model": document["model"]},
        inputs=[teacher, data, student],
        libraries=(*_TORCH, "accelerate"),
        build=lambda out, work: stages.distil(recipe, teacher.path, data.path, student.path, out, work, progress),
    )
    graphs = run(
        "export",
        3,
        reads={"export": document["export"], "model": document["model"], "runtime": lowering},
        inputs=[teacher, data, trained],
        libraries=(*_TORCH, "onnx", "onnxscript"),
        build=lambda out, work: stages.export(recipe, device, teacher.path, data.path, trained.path, out, progress),
    )
    engines = run(
        "build",
        2,
        reads={
            "quantize": document["quantize"],
            "accept": document["accept"],
            "bench": document["bench"],
            "buckets": document["export"].get("buckets"),
            "device": device.model_dump(mode="json"),
        },
        inputs=[graphs],
        libraries=("onnxruntime",),
        build=lambda out, work: stages.build(recipe, device, graphs.path, graphs.meta, out, work, progress),
    )
    made = run(
        "bundle",
        1,
        reads={"recipe": document},
        inputs=[teacher, student, trained, graphs, engines],
        build=lambda out, work: stages.assemble(
            recipe, document, device, teacher, student, trained, graphs, engines, out
        ),
    )
    verified = run(
        "verify",
        1,
        reads=None,
        inputs=[made],
        libraries=("onnxruntime",),
        build=lambda out, work: stages.verify(made.path, out),
    )
    timed = run(
        "bench",
        1,
        reads={"bench": document["bench"]},
        inputs=[made, verified],
        libraries=("onnxruntime",),
        build=lambda out, work: stages.bench(made.path, out, work, progress),
    )
    with scratch("compile") as folder:
        staged = folder / "bundle"
        shutil.copytree(made.path, staged)
        bundle = Bundle.open(staged)
        stages.record(bundle, verified.path, timed.path)
        refresh(bundle)
        return publish(staged, out)
