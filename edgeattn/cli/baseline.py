"""`edgeattn baseline`: bundles that later ones are gated against."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeattn.cli.console import Group, common_options, emit, json_option, verbose_option

if TYPE_CHECKING:
    from edgeattn.gate.baseline import Baseline


@click.group("baseline", cls=Group)
@functools.partial(json_option, expose=False)
@verbose_option
def command() -> None:
    """Save, show and verify baselines: bundles that `edgeattn gate` measures again beside each candidate."""


@command.command("save", short_help="Copy a bundle as a baseline.")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--note", help="Where it comes from, such as a commit.")
@click.option("--host", metavar="NAME", help="The host of `edgeattn hosts` that it is for; this machine by default.")
@common_options
def save(bundle: Path, folder: Path, note: str | None, host: str | None, as_json: bool) -> None:
    """Copy BUNDLE into FOLDER, with its digest and the facts of the machine that it is measured on."""
    from edgeattn.bundle import Bundle
    from edgeattn.gate.baseline import save as save_baseline
    from edgeattn.hosts import open_host

    machine = None if host is None else open_host(host).probe().fingerprint
    saved = save_baseline(Bundle.open(bundle), folder, note=note, machine=machine)
    emit(_document(saved), as_json, lambda: _print(saved))


@command.command("show", short_help="Print what a baseline is.")
@click.argument("folder", type=click.Path(path_type=Path))
@common_options
def show(folder: Path, as_json: bool) -> None:
    """Print what the baseline in FOLDER is and where it was saved. All of its digests are checked."""
    from edgeattn.gate.baseline import open_baseline

    found = open_baseline(folder)
    emit(_document(found), as_json, lambda: _print(found))


@command.command("verify", short_help="Check that a baseline is whole and runs here.")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--digest", metavar="sha256:...", help="The digest that its bundle must have.")
@common_options
def verify(folder: Path, digest: str | None, as_json: bool) -> None:
    """Check the digests of the baseline in FOLDER, that this is its machine, and that its outputs are right here.

    Exits with 2 where it was changed, with 4 where it does not run here as it did, and with 1 where it is wrong.
    """
    from edgeattn.bench.accuracy import check
    from edgeattn.errors import VerificationError
    from edgeattn.gate.baseline import open_baseline, require_here
    from edgeattn.report.table import lines

    found = open_baseline(folder, digest=digest)
    require_here(found)
    document = check(found.bundle)
    if not document["passed"]:
        raise VerificationError(
            "the baseline failed verification: " + "; ".join(document["reasons"]),
            where=str(folder),
            fix="save a baseline that passes `edgeattn verify`",
        )
    emit({**_document(found), "passed": True}, as_json, lambda: lines([f"{folder}: whole, and runs here as it did"]))


def _document(found: Baseline) -> dict[str, Any]:
    from edgeattn.gate.baseline import digest_of

    if found.saved is not None:
        return {"path": str(found.path), **found.saved.model_dump(mode="json", by_alias=True)}
    manifest = found.bundle.manifest
    return {
        "path": str(found.path),
        "name": manifest.name,
        "digest": digest_of(found.bundle),
        "bundle": manifest.digest,
        "machine": None,
    }


def _print(found: Baseline) -> None:
    from edgeattn.report.table import lines

    document = _document(found)
    machine = document.pop("machine")
    processor = "not recorded: a plain bundle" if machine is None else machine["cpu_model"] or "unknown"
    shown = {**document, "processor": processor}
    lines([f"{name:<16} {value}" for name, value in shown.items() if value is not None])
