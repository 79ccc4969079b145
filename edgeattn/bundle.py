"""The bundle: a folder with everything a device needs, and a manifest with the digest of every file."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edgeattn.errors import BundleError, ResourceError
from edgeattn.files import check_listed, check_relative, entry_of, walk
from edgeattn.manifest import (
    COPY_AGAIN,
    MANIFEST,
    REPORTS,
    Axis,
    BenchSpec,
    Bucket,
    Candidate,
    DecodeGraph,
    EngineRef,
    FileEntry,
    Interface,
    Manifest,
    TaskSpec,
    TensorSpec,
    read_manifest,
)
from edgeattn.registry import did_you_mean
from edgeattn.runtimes import RUNTIMES
from edgeattn.runtimes.graphs import check_graph
from edgeattn.store import disk_errors, fsync, locked, replacing, sha256_file, write_json

__all__ = [
    "Axis",
    "BenchSpec",
    "Bucket",
    "Bundle",
    "Candidate",
    "EngineRef",
    "FileEntry",
    "Interface",
    "Manifest",
    "TaskSpec",
    "TensorSpec",
    "check_replaceable",
    "link",
    "publish",
    "rebuild",
    "write",
]

_ARRAYS_LIMIT_BYTES = 4 * 1024**3


@dataclass
class Bundle:
    """A bundle that was checked when it was opened."""

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: Path) -> Bundle:
        """Read a bundle and check all of its files, before native code sees one.

        Raises BundleError for a newer schema, a path that leaves the folder, a symbolic link, a file that is missing,
        changed, or unlisted where a runtime would find it, and for an engine or graph that is not what bundle.json
        says. Hard links are allowed: all names of a file have the same permissions.
        """
        manifest = read_manifest(path)
        listed = manifest.files
        for file in walk(path, COPY_AGAIN):
            name = file.relative_to(path).as_posix()
            if name not in listed and (name.startswith("engine/") or ".onnx" in file.name.lower()):
                raise BundleError(
                    f"is not listed in {MANIFEST}",
                    where=str(file),
                    fix="remove it, if you do not know where it comes from; else compile the bundle again",
                )
        for name, entry in listed.items():
            check_listed(path, name, entry, MANIFEST, COPY_AGAIN)
        for which, engine in manifest.engines.items():
            where = str(path / MANIFEST)
            if engine.runtime not in RUNTIMES:
                fix = did_you_mean(engine.runtime, list(RUNTIMES))
                raise BundleError(
                    f"engine {which!r} needs the unknown runtime {engine.runtime!r}", where=where, fix=fix
                )
            if engine.graph not in listed:
                fact = f"engine {which!r} needs {engine.graph!r}, which is not listed"
                raise BundleError(fact, where=where, fix=COPY_AGAIN)
            RUNTIMES[engine.runtime].check(path, engine, manifest)
        for candidate in manifest.candidates:
            _check_candidate(path, candidate, manifest)
        for decode in manifest.decode.values():
            _check_decode(path, decode, manifest)
        return cls(path, manifest)

    @property
    def name(self) -> str:
        """For messages."""
        return self.manifest.name

    @property
    def key(self) -> str:
        """By it, a device knows the bundle again."""
        return str(self.path)

    @property
    def document(self) -> Path:
        """bundle.json."""
        return self.path / MANIFEST

    def files(self) -> dict[str, tuple[str, int]]:
        """path -> digest, bytes of all files that belong to it; others in its folder do not."""
        listed = {name: (entry.sha256, entry.bytes) for name, entry in self.manifest.files.items()}
        return {**listed, MANIFEST: (sha256_file(self.document), self.document.stat().st_size)}

    def require_built(self) -> None:
        """Raise BundleError for a bundle that has candidates and no engine yet."""
        if not self.manifest.engines:
            raise BundleError(
                "is not built yet: it holds candidates and no engine",
                where=str(self.path),
                fix=f"run `edgeattn build {self.path}` on the device that it is for",
            )

    def graph(self, which: Literal["efficient", "dense"]) -> Path:
        """The ONNX graph of one engine."""
        if which not in self.manifest.engines:
            raise BundleError(f"has no {which} engine", where=str(self.path), fix="compile the bundle again")
        return self.path / self.manifest.engines[which].graph

    def arrays(self, name: Literal["samples", "eval"]) -> dict[str, np.ndarray[Any, Any]]:
        """The arrays of samples.npz or eval.npz, by key."""
        file = self.path / f"{name}.npz"
        if file.name not in self.manifest.files:
            raise BundleError("is not in the bundle", where=str(file), fix="compile the bundle again")
        try:
            with zipfile.ZipFile(file) as archive:
                unpacked = sum(member.file_size for member in archive.infolist())
            if unpacked > _ARRAYS_LIMIT_BYTES:
                raise BundleError(
                    f"unpacks to {unpacked} bytes; the limit is {_ARRAYS_LIMIT_BYTES}",
                    where=str(file),
                    fix="compile the bundle again with fewer evaluation samples",
                )
            with np.load(file, allow_pickle=False) as arrays:
                return dict(arrays)
        except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile) as error:
            raise BundleError(f"cannot be read: {error}", where=str(file), fix=COPY_AGAIN) from error

    def record(self, name: str, document: Any) -> None:
        """Write or replace a report: a document for JSON, text for the others."""
        if name not in REPORTS:
            raise ValueError(f"{name!r} is not one of {', '.join(REPORTS)}")
        with _exclusive(self.path):
            manifest = read_manifest(self.path)
            others = {key: entry for key, entry in manifest.files.items() if key != name}
            # The old entry is removed first and the new one added last: after a kill in between, the bundle
            # holds an unlisted report, and still opens.
            if name in manifest.files:
                _write_manifest(self.path, manifest, others)
            if name.endswith(".json"):
                write_json(self.path / name, document)
            else:
                with replacing(self.path / name) as temporary:
                    temporary.write_text(document, encoding="utf-8")
            self.manifest = _write_manifest(self.path, manifest, {**others, name: entry_of(self.path / name)})


def rebuild(bundle: Bundle, fill: Callable[[Path], Manifest]) -> Bundle:
    """Replace a bundle by what `fill` makes in an empty folder, whole or not at all.

    fill: may link to files of the bundle; returns the manifest. A reader sees the old bundle or the new one.
    """
    path = bundle.path.resolve()
    with disk_errors(path.parent, "work on a copy of the bundle on another disk"), _exclusive(path.parent):
        beside = path.with_name(f".{path.name}.edgeattn-new")
        _remove(beside)  # left by a process that was killed
        try:
            beside.mkdir()
            made = write(beside, fill(beside))
            _put_in_place(beside, path)
            fsync(path.parent)
        finally:
            _remove(beside)
    return Bundle(bundle.path, made.manifest)


def link(source: Path, target: Path) -> None:
    """Give a file a second name; where the file system cannot, copy it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def write(folder: Path, manifest: Manifest) -> Bundle:
    """Turn a filled folder into a bundle: digest each of its files and write bundle.json."""
    files = {
        file.relative_to(folder).as_posix(): entry_of(file)
        for file in walk(folder, COPY_AGAIN)
        if file != folder / MANIFEST
    }
    return Bundle(folder, _write_manifest(folder, manifest, files))


def publish(staged: Path, out: Path, *, finish: Callable[[Bundle], None] | None = None) -> Bundle:
    """Copy the bundle `staged` to `out`, which at any moment is the old bundle or the new one.

    finish: called with the copy before it is put in place, to record reports in it.
    Raises BundleError when `out` holds anything but a bundle's own files.
    """
    out = out.resolve()
    with disk_errors(out.parent, "choose another --out"):
        out.parent.mkdir(parents=True, exist_ok=True)
    with _exclusive(out.parent):
        check_replaceable(out)
        beside = out.with_name(f".{out.name}.edgeattn-new")
        _remove(beside)  # left by a process that was killed
        try:
            with disk_errors(out.parent, "choose another --out"):
                _copy(staged, beside)
                copied = Bundle.open(beside)
                if finish:
                    finish(copied)
            bundle = Bundle(out, copied.manifest)
            _put_in_place(beside, out)
            fsync(out.parent)
        finally:
            _remove(beside)
    return bundle


def _write_manifest(path: Path, manifest: Manifest, files: dict[str, FileEntry]) -> Manifest:
    manifest = manifest.model_copy(update={"files": files})
    write_json(path / MANIFEST, manifest.model_dump(mode="json"))
    return manifest


def _check_candidate(path: Path, candidate: Candidate, manifest: Manifest) -> None:
    where = str(path / MANIFEST)
    for runtime in candidate.runtimes:
        if runtime not in RUNTIMES:
            fact = f"candidate {candidate.name!r} needs the unknown runtime {runtime!r}"
            raise BundleError(fact, where=where, fix=did_you_mean(runtime, list(RUNTIMES)))
    inside = f"{candidate.folder}/"
    files = {name.removeprefix(inside): entry for name, entry in manifest.files.items() if name.startswith(inside)}
    graphs = {candidate.graph: None, **{bucket.graph: bucket.length for bucket in candidate.buckets}}
    operators = {operator for runtime in candidate.runtimes for operator in RUNTIMES[runtime].operators}
    for graph, length in graphs.items():
        if graph not in files:
            raise BundleError(f"{inside}{graph} is not listed", where=where, fix=COPY_AGAIN)
        check_graph(
            path / candidate.folder / graph,
            files,
            domains={operator.partition("::")[0] for operator in operators},
            inputs=manifest.inputs,
            outputs=manifest.outputs,
            sizes={manifest.length_axis: length} if manifest.length_axis and length else {},
        )


def _check_decode(path: Path, decode: DecodeGraph, manifest: Manifest) -> None:
    if decode.graph not in manifest.files:
        raise BundleError(f"{decode.graph} is not listed", where=str(path / MANIFEST), fix=COPY_AGAIN)
    after = (TensorSpec(name=each.next, dtype=each.dtype, dims=each.dims) for each in decode.carried)
    check_graph(
        path / decode.graph,
        manifest.files,
        domains={operator.partition("::")[0] for operator in RUNTIMES["onnxruntime"].operators},
        inputs=(*decode.inputs, *decode.carried),
        outputs=(*decode.outputs, *after),
    )


@contextlib.contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    """Hold the lock of the folder itself, which leaves no lock file behind."""
    with disk_errors(folder, "make it writable, or work on a copy of it"):
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with locked(fd, str(folder)):
                yield
        finally:
            os.close(fd)


def check_out(out: Path) -> None:
    """Raise BundleError where `out` holds anything but a bundle, ResourceError where it cannot be written.

    Leaves nothing behind: a folder that does not exist yet is made by `publish`.
    """
    check_replaceable(out)
    parent = next(folder for folder in out.absolute().parents if folder.exists())
    if not parent.is_dir():
        raise BundleError(f"{parent} is not a folder", where=str(out), fix="choose another --out")
    try:
        with tempfile.TemporaryDirectory(prefix=".edgeattn-", dir=parent):
            pass
    except OSError as error:
        raise ResourceError(
            f"cannot be written: {error.strerror}", where=str(out), fix="choose another --out"
        ) from error


def check_replaceable(out: Path) -> None:
    """Raise BundleError unless replacing `out` loses nothing but a bundle's own files."""
    if not out.exists():
        return
    fix = "move it away, or choose another --out"
    if not out.is_dir():
        raise BundleError("exists and is not a folder", where=str(out), fix=fix)
    if not any(out.iterdir()):
        return
    try:
        own = {MANIFEST, *REPORTS, *json.loads((out / MANIFEST).read_text(encoding="utf-8"))["files"]}
        own |= {f".{name}.tmp" for name in (MANIFEST, *REPORTS)}  # left by a process that was killed
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError("is neither empty nor a bundle", where=str(out), fix=fix) from error
    for file in walk(out, COPY_AGAIN):
        if file.relative_to(out).as_posix() not in own:
            raise BundleError("is not part of the bundle that would be replaced", where=str(file), fix=fix)


def _copy(staged: Path, to: Path) -> None:
    """Copy what the manifest lists, with the modes that the user's umask gives."""
    to.mkdir()
    files = read_manifest(staged).files
    copied: dict[str, Path] = {}  # digest -> where it is: candidates share weights
    for name in [*files, MANIFEST]:
        check_relative(staged, name, MANIFEST)
        target, digest = to / name, files[name].sha256 if name in files else MANIFEST
        if digest in copied:
            link(copied[digest], target)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(staged / name, target)
            copied[digest] = target
        fsync(target)


def _put_in_place(new: Path, out: Path) -> None:
    """Rename `new` to `out`; a folder that was there is then at `new`, or gone."""
    if out.exists() and any(out.iterdir()):
        _exchange(new, out)
    else:
        new.replace(out)


def _exchange(first: Path, second: Path) -> None:
    """Swap two folders' names in one step."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)  # glibc 2.28
    at_cwd, exchange = -100, 2
    if renameat2 and not renameat2(at_cwd, os.fsencode(first), at_cwd, os.fsencode(second), exchange):
        return
    # An older C library or file system cannot: two steps, with the old folder kept until the end.
    old = second.with_name(f".{second.name}.edgeattn-old")
    _remove(old)
    second.replace(old)
    first.replace(second)
    old.replace(first)


def _remove(folder: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)
