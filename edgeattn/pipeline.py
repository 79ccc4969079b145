"""The stages from a recipe to a bundle, in order. Read this page first.

Each stage turns artifacts, and its part of the recipe, into an artifact in the store. It is declared here with all
that it depends on (see `edgeattn.stage`); its body is in `edgeattn.stages`. A stage that was done before with the same
inputs comes from the store; a stage that was killed goes on from its last checkpoint.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from edgeattn import stages
from edgeattn.bundle import Bundle, check_out, publish
from edgeattn.devices import DeviceProfile
from edgeattn.hosts.absent import leave_unbuilt
from edgeattn.progress import Progress
from edgeattn.recipe import LoadedRecipe, Recipe
from edgeattn.stage import Runner, Stage
from edgeattn.store import Store
from edgeattn.target import Target
from edgeattn.yamlfile import Positions

_TORCH = ("torch", "transformers")

STAGES = (
    Stage(
        "teacher", 2, stages.teacher,
        recipe=("model", "task", "data.train"), files=stages.teacher_files, libraries=_TORCH,
    ),
    Stage(
        "data", 3, stages.data, inputs=("teacher",),
        recipe=("task", "data", "distill.max_length"), files=stages.data_files, libraries=("transformers", "datasets"),
    ),
    Stage(
        "convert", 2, stages.student, inputs=("teacher", "data"),
        recipe=("model.extend_positions", "task", "attention", "reduce"), libraries=_TORCH,
    ),
    Stage(
        "distill", 2, stages.distil, inputs=("teacher", "data", "convert"),
        recipe=("model.extend_positions", "task", "distill"), libraries=(*_TORCH, "accelerate"),
    ),
    Stage(
        "export", 7, stages.export, inputs=("teacher", "data", "distill"),
        recipe=("model.extend_positions", "task", "export.opset"), device=("name", "runtimes"),
        libraries=(*_TORCH, "onnx", "onnxscript"),
    ),
    Stage(
        "quantize", 4, stages.quantize, inputs=("data", "export"),
        recipe=("quantize.methods", "export.buckets"), device=("name", "runtimes", "software", "cpu"),
        libraries=("onnx", "onnxruntime", "nncf"),
    ),
    Stage(
        "check", 1, stages.check, inputs=("export", "quantize"),
        recipe=("bench.lengths", "bench.batch_size"), device=("name", "runtimes", "software", "gpu"),
        libraries=("onnx",), optional=("tensorrt-rtx", "polygraphy"),
    ),
    Stage(
        "bundle", 6, stages.assemble, inputs=("teacher", "convert", "distill", "export", "quantize", "check"),
        recipe=tuple(Recipe.model_fields), device=tuple(DeviceProfile.model_fields), libraries=stages.NAMED_LIBRARIES,
    ),
)  # fmt: skip

# Jobs that the target's host runs on the bundle: see `edgeattn.hosts`.
ON_THE_DEVICE = (
    Stage("build", 5, stages.build, inputs=("bundle",), measured=True),
    Stage("verify", 4, stages.verify, inputs=("build",), measured=True),
    Stage("bench", 4, stages.bench, inputs=("build",), of={"build": stages.built_engines}, measured=True),
)


def preflight(positions: Positions) -> Stage:
    """The stage before all others: it refuses what any of them would refuse, and makes nothing.

    positions: the lines of the recipe's keys, for errors.
    """
    return Stage(
        "preflight", 2, partial(stages.preflight, positions=positions),
        recipe=(
            "model", "task", "data", "attention", "reduce", "distill.max_length", "export", "quantize.methods",
            "accept.metric", "bench.lengths",
        ),
        device=("name", "runtimes"), files=stages.preflight_files, libraries=(*_TORCH, "datasets"), check=True,
    )  # fmt: skip


def start(
    loaded: LoadedRecipe, target: Target, out: Path, *, store: Store, progress: Progress, fresh: bool = False
) -> Runner:
    """Check all that the stages would refuse; nothing is made yet.

    out: where the bundle will go. fresh: take nothing from the store. Raises an EdgeattnError.
    """
    check_out(out)
    run = Runner(store, progress, loaded.recipe, target.profile, loaded.root, target.host, target.machine, fresh=fresh)
    run(preflight(loaded.positions))
    return run


def train(run: Runner) -> None:
    """Run the stages that are the same for every target. Raises an EdgeattnError."""
    for stage in STAGES:
        if not stage.device:
            run(stage)


def make(run: Runner) -> None:
    """Run the stages that need no device, up to the bundle that is not built yet. Raises an EdgeattnError."""
    for stage in STAGES:
        if stage.name not in run.artifacts:
            run(stage)


def ship(run: Runner, out: Path) -> Bundle:
    """Run the stages that need the device, where the target has a host, and publish the bundle at `out`.

    Raises an EdgeattnError; `out` is then as it was.
    """
    if run.host is None:
        return publish(run.artifacts["bundle"].path, out, finish=leave_unbuilt)
    for stage in ON_THE_DEVICE:
        run(stage)
    built, verified, timed = (run.artifacts[name].path for name in ("build", "verify", "bench"))
    return publish(built, out, finish=lambda bundle: stages.record(bundle, verified, timed))
