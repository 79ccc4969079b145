"""A stage of the pipeline: declared once, and run through the store.

What a stage declares is both its key in the store and all that its body gets, so a body cannot depend on something
that is not in the key: a part of the recipe that is not declared is not there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from edgeattn import __version__
from edgeattn.devices import DeviceProfile
from edgeattn.errors import DeviceError
from edgeattn.hosts.base import Host
from edgeattn.progress import Progress
from edgeattn.recipe import Recipe
from edgeattn.store import Artifact, Store
from edgeattn.versions import installed_version

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class Job:
    """What the body of a stage gets.

    host: where the work on the device runs, for a stage that is measured.
    recipe, device: only the parts that the stage declares; reading another raises LookupError.
    inputs: the artifacts of the stages that it declares, by name.
    out: an empty folder for the stage's files. work: a folder that survives a kill, for checkpoints.
    """

    recipe: Recipe
    device: DeviceProfile
    inputs: Mapping[str, Artifact]
    target_host: Host | None
    files_root: Path | None
    out: Path
    work: Path
    progress: Progress

    @property
    def host(self) -> Host:
        """The host of the target, for a stage that declares `measured`."""
        if self.target_host is None:
            raise LookupError("the stage runs on the device and does not declare `measured`")
        return self.target_host

    @property
    def root(self) -> Path:
        """The folder that file names in the recipe start from, for a stage that declares `files`."""
        if self.files_root is None:
            raise LookupError("the stage reads files of the recipe and does not declare `files`")
        return self.files_root

    def path(self, stage: str) -> Path:
        """The folder, to be read only, that an earlier stage filled."""
        return self.inputs[stage].path

    def facts(self, stage: str) -> dict[str, Any]:
        """What an earlier stage returned."""
        return self.inputs[stage].meta


@dataclass(frozen=True)
class Stage:
    """One step from artifacts to an artifact.

    version: raised when the body comes to make something else of the same inputs.
    body: fills `out` and returns facts for JSON, of which "note" is a few words for the terminal.
    inputs: names of earlier stages. of: name of an input -> digest of the part of it that the body reads; without
        one, all of it.
    recipe, device: the parts that the body reads, such as "task" or "data.train".
    files: digests of what the body reads outside of the store, from its parts of the recipe and the root of file names.
    libraries: packages whose version changes the result. optional: such packages, which may be missing.
    measured: the body runs on the target's host, and the result holds for that machine only.
    check: the body makes no files; it runs before the store is touched, so that what it refuses leaves nothing behind.
    """

    name: str
    version: int
    body: Callable[[Job], dict[str, Any]]
    inputs: tuple[str, ...] = ()
    of: Mapping[str, Callable[[Artifact], str]] = field(default_factory=dict)
    recipe: tuple[str, ...] = ()
    device: tuple[str, ...] = ()
    files: Callable[[Recipe, Path], Sequence[str]] | None = None
    libraries: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    measured: bool = False
    check: bool = False


def only(model: M, parts: Sequence[str]) -> M:
    """A copy of `model` with only these parts; reading another raises AttributeError.

    parts: fields such as "task", or fields of a field such as "data.train". A part that is absent stays absent, and
    one that this kind of model does not have is left out. Raises LookupError for a first name that is no field.
    """
    inner: dict[str, list[str]] = {}
    for part in parts:
        name, _, rest = part.partition(".")
        if name not in type(model).model_fields:
            raise LookupError(f"{type(model).__name__} has no field {name!r}")
        inner.setdefault(name, []).append(rest)
    copied = model.model_copy()
    for name in type(model).model_fields:
        if name not in inner:
            del copied.__dict__[name]
        elif "" not in inner[name] and isinstance(value := getattr(model, name), BaseModel):
            known = [rest for rest in inner[name] if rest.partition(".")[0] in type(value).model_fields]
            copied.__dict__[name] = only(value, known)
    return copied


def _part(stage: Stage, name: str, artifact: Artifact) -> Artifact | str:
    return stage.of[name](artifact) if name in stage.of else artifact


def _run(stage: Stage, job: Job) -> dict[str, Any]:
    try:
        return stage.body(job)
    except AttributeError as error:
        if isinstance(error.obj, BaseModel) and error.name in type(error.obj).model_fields:
            raise LookupError(f"stage {stage.name} reads {error.name!r} and does not declare it") from error
        raise


def _document(part: BaseModel) -> dict[str, Any]:
    # Without warnings: pydantic warns of a union whose value lacks fields.
    return part.model_dump(mode="json", by_alias=True, warnings=False)


def versions(*packages: str) -> dict[str, str]:
    """name -> installed version, of edgeattn and of `packages`. Raises DeviceError for one that is missing."""
    found = {"edgeattn": __version__}
    for package in packages:
        version = installed_version(package)
        if version is None:
            raise DeviceError(f"{package} is not installed", fix="pip install 'edgeattn[compile]'")
        found[package] = version
    return found


@dataclass
class Runner:
    """Runs stages one after another and keeps their artifacts.

    host, machine: of the target; host is None where none of the stages is measured.
    machine: what measured results depend on, of `edgeattn.devices.fingerprint`.
    """

    store: Store
    progress: Progress
    recipe: Recipe
    device: DeviceProfile
    root: Path
    host: Host | None
    machine: Mapping[str, Any]
    fresh: bool = False
    artifacts: dict[str, Artifact] = field(default_factory=dict)

    def __call__(self, stage: Stage) -> Artifact:
        """The stage's artifact, from the store or built now; see `Store.run`."""
        started = time.monotonic()
        self.progress.stage(stage.name)
        recipe, device = only(self.recipe, stage.recipe), only(self.device, stage.device)
        inputs = {name: self.artifacts[name] for name in stage.inputs}
        root, host = self.root if stage.files else None, self.host if stage.measured else None
        key: dict[str, Any] = {
            "reads": {
                "recipe": _document(recipe),
                "device": _document(device),
                "machine": dict(self.machine) if stage.measured else None,
            },
            "inputs": [
                *(_part(stage, name, each) for name, each in inputs.items()),
                *(stage.files(recipe, self.root) if stage.files else ()),
            ],
            "libraries": {**versions(*stage.libraries), **{name: installed_version(name) for name in stage.optional}},
        }

        def build(out: Path, work: Path) -> dict[str, Any]:
            return _run(stage, Job(recipe, device, inputs, host, root, out, work, self.progress))

        if stage.check and (self.fresh or self.store.find(stage.name, stage.version, **key) is None):
            facts = build(Path(), Path())
            artifact = self.store.run(stage.name, stage.version, **key, build=lambda *_: facts, fresh=self.fresh)
        else:
            artifact = self.store.run(stage.name, stage.version, **key, build=build, fresh=self.fresh)
        self.progress.finish(stage.name, time.monotonic() - started, cached=artifact.cached, note=artifact.meta["note"])
        self.artifacts[stage.name] = artifact
        return artifact
