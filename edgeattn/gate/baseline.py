"""A baseline: a bundle that can run again, with its digest and the machine that it was saved on.

DIR/baseline.json    what was saved, when and where
DIR/bundle/          the bundle itself
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from edgeattn import __version__
from edgeattn.bundle import Bundle, publish
from edgeattn.devices import fingerprint
from edgeattn.errors import BundleError, DeviceError
from edgeattn.jsonfile import read_json, strict_json
from edgeattn.manifest import REPORTS, Digest
from edgeattn.meters import Scope, choose
from edgeattn.recognition import target_here
from edgeattn.store import disk_errors, write_json
from edgeattn.validation import Part

BASELINE, BUNDLE = "baseline.json", "bundle"
SCHEMA_VERSION = 1
_SAVE_AGAIN = "save the baseline again on this machine: edgeattn baseline save BUNDLE DIR"
# Facts of a fingerprint that change no engine's speed, or are compared by themselves.
_KNOWN_OF_A_BUILD = ("cpu_model", "architecture", "instruction_sets", "module", "power_mode")
_NOT_COMPARED = {"memory_gib", "runtimes", "power"}


class Saved(Part):
    """baseline.json.

    digest: see `digest_of`. bundle: the digest by which bench.json and gate.json name it. machine: the fingerprint of
    the machine that it was saved on. runtime: of its engine, with its version. energy, energy_scope: the meter that was
    there, and what its joules cover: a gate needs a meter of the same scope. note: the user's, such as a commit.
    """

    schema_version: Literal[1] = Field(alias="schema")
    name: str
    digest: Digest
    bundle: Digest
    saved_utc: str
    edgeattn: str
    machine: dict[str, Any]
    runtime: str
    runtime_version: str
    energy: str | None
    energy_scope: Scope | None = None
    note: Annotated[str, Field(max_length=500)] | None = None


@dataclass(frozen=True)
class Baseline:
    """A baseline that was opened, so that the digests of all its files are right. saved: None for a plain bundle."""

    path: Path
    bundle: Bundle
    saved: Saved | None


def digest_of(bundle: Bundle) -> str:
    """Of all that a gate takes from a baseline: its files, and bundle.json with its floor, metrics and lengths.

    Reports may be recorded in the bundle without another digest.
    """
    document = bundle.manifest.model_dump(mode="json")
    document["files"] = {name: entry for name, entry in document["files"].items() if name not in REPORTS}
    return f"sha256:{hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()}"


def save(bundle: Bundle, out: Path, *, note: str | None = None, machine: Mapping[str, Any] | None = None) -> Baseline:
    """Copy a bundle, with where it came from, into the folder `out`; one that is there is replaced.

    machine: the fingerprint of the host that it is for, where that is not this machine.
    Raises DeviceError unless it can run there, BundleError where it is not built, or `out` holds anything else.
    """
    bundle.require_built()
    engine = bundle.manifest.engines["efficient"]
    meter = choose(target_here(bundle)) if machine is None else None
    machine = dict(fingerprint() if machine is None else machine)
    version = machine["runtimes"].get(engine.runtime)
    if version is None:
        raise DeviceError(f"{engine.runtime} is not installed there", where=str(bundle.path), fix="install it first")
    saved = Saved(
        schema=1,
        name=bundle.manifest.name,
        digest=digest_of(bundle),
        bundle=bundle.manifest.digest,
        saved_utc=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        edgeattn=__version__,
        machine=machine,
        runtime=engine.runtime,
        runtime_version=version,
        energy=None if meter is None else meter.name,
        energy_scope=None if meter is None else meter.scope,
        note=note,
    )
    if out.exists() and (not out.is_dir() or {each.name for each in out.iterdir()} - {BASELINE, BUNDLE}):
        raise BundleError("is neither empty nor a baseline", where=str(out), fix="choose another folder")
    with disk_errors(out.parent, "choose another folder"):
        out.mkdir(parents=True, exist_ok=True)
    copied = publish(bundle.path, out / BUNDLE)
    with disk_errors(out, "choose another folder"):
        write_json(out / BASELINE, saved.model_dump(mode="json", by_alias=True))
    return Baseline(out, copied, saved)


def open_baseline(path: Path, *, digest: str | None = None) -> Baseline:
    """A saved baseline, or a plain bundle, with all of its digests checked.

    digest: see `digest_of`; a pull request that edits the baseline cannot keep it. Raises BundleError.
    """
    if not (path / BASELINE).exists():
        baseline = Baseline(path, Bundle.open(path), None)
    else:
        saved = read_json(path / BASELINE, Saved, newest=SCHEMA_VERSION, fix=_SAVE_AGAIN)
        baseline = Baseline(path, Bundle.open(path / BUNDLE), saved)
        found = digest_of(baseline.bundle)
        if saved.digest != found:
            raise BundleError(
                f"its bundle has the digest {found}, {saved.digest} was saved",
                where=str(path / BASELINE),
                fix="restore the baseline from where it was saved, or save it again",
            )
    found = digest_of(baseline.bundle)
    if digest is not None and found != digest:
        raise BundleError(
            f"has the digest {found}; {digest} is required",
            where=str(path),
            fix="take the baseline from the protected branch, not from the change that is judged",
        )
    return baseline


def require_here(baseline: Baseline, machine: Mapping[str, Any] | None = None) -> None:
    """Raise DeviceError unless the baseline runs here as it did where it was saved; BundleError if it is not built.

    machine: the fingerprint of this machine; read when None.
    """
    baseline.bundle.require_built()
    target_here(baseline.bundle)
    now = fingerprint() if machine is None else machine
    engine = baseline.bundle.manifest.engines["efficient"]
    before, version = _before(baseline)
    installed = now["runtimes"].get(engine.runtime)
    if version is not None and installed != version:
        raise _elsewhere(baseline, f"it ran with {engine.runtime} {version}, {installed} is installed")
    for name, value in before.items():
        if name in _NOT_COMPARED or value is None or now.get(name) is None:
            continue
        if _same(value) != _same(now[name]):
            raise _elsewhere(
                baseline, f"its {name.replace('_', ' ')} was {_text(value)}, here it is {_text(now[name])}"
            )
    powers = before.get("power") or {}
    for name, value in powers.items():
        here = (now.get("power") or {}).get(name)
        if value is not None and here is not None and value != here:
            raise _elsewhere(baseline, f"it was saved in another power mode: {name} was {value}, here it is {here}")


def require_same_target(baseline: Bundle, candidate: Bundle) -> None:
    """Raise DeviceError unless both bundles are for the same device."""
    ours, theirs = (each.manifest.target.get("name") for each in (candidate, baseline))
    if ours != theirs:
        raise DeviceError(
            f"the baseline is for {theirs}, the candidate for {ours}: they cannot be compared",
            where=str(baseline.path),
            fix=f"save a baseline that was compiled with --target {ours}",
        )


def _before(baseline: Baseline) -> tuple[Mapping[str, Any], str | None]:
    """The machine that the baseline is for, as far as it is known, and the version of its runtime there."""
    if baseline.saved is not None:
        return baseline.saved.machine, baseline.saved.runtime_version
    bundle = baseline.bundle
    if "build.json" not in bundle.manifest.files:
        return {}, None
    file = bundle.path / "build.json"
    try:
        document = strict_json(file.read_bytes())
        machine, runtimes = document["machine"], document["runtimes"]
        known = {name: machine.get(name) for name in _KNOWN_OF_A_BUILD}
        return known, runtimes.get(bundle.manifest.engines["efficient"].runtime)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise BundleError(f"cannot be read: {error}", where=str(file), fix="build the bundle again") from error


def _elsewhere(baseline: Baseline, fact: str) -> DeviceError:
    return DeviceError(f"the baseline is of another device: {fact}", where=str(baseline.path), fix=_SAVE_AGAIN)


def _same(value: Any) -> Any:
    return sorted(value) if isinstance(value, (list, tuple)) else value


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
