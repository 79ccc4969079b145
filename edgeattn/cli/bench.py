"""`edgeattn bench`: dense and efficient of a bundle side by side, or the shipped engines of several."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeattn.cli.console import common_options, emit, lengths_of

if TYPE_CHECKING:
    from edgeattn.jobs import Bench
    from edgeattn.progress import Progress


@click.command("bench")
@click.argument("bundle", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--lengths", callback=lengths_of, metavar="N,N", help="Lengths to time; the bundle's own by default.")
@click.option(
    "--pairs",
    type=click.IntRange(1, 100),
    help="Pairs of fresh processes; the bundle's own by default, 6 give a 96.9 % interval.",
)
@click.option("--threads", type=click.IntRange(1, 1024), help="Threads of an engine; the usable cores by default.")
@click.option(
    "--quick",
    is_flag=True,
    help="Warm up and time each process for seconds, not up to minutes; the first line says how long it takes.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for bench.json and report.html, in place of the bundle.",
)
@common_options
def command(
    bundle: tuple[Path, ...],
    lengths: tuple[int, ...] | None,
    pairs: int | None,
    threads: int | None,
    quick: bool,
    out: Path | None,
    as_json: bool,
) -> None:
    """Time the dense and the efficient engine of BUNDLE in turn, and record bench.json and report.html in it.

    With several bundles, time their efficient engines in turn; the first is the reference. Their results are printed,
    and written only with --out.
    """
    from edgeattn.hosts import open_host
    from edgeattn.jobs import Bench
    from edgeattn.progress import Progress
    from edgeattn.report.table import show_bench

    job, progress = Bench(lengths, pairs, threads, quick), Progress()
    if len(bundle) == 1 and out is None:
        document = open_host(None).run(job, bundle[0], progress)
    else:
        document = _elsewhere(job, bundle, out, progress)
    emit(document, as_json, lambda: show_bench(document))


def _elsewhere(job: Bench, paths: Sequence[Path], out: Path | None, progress: Progress) -> dict[str, Any]:
    """The document of bundles in which nothing is recorded; it is written into `out`, if that is given."""
    from edgeattn.bundle import Bundle
    from edgeattn.errors import InputError
    from edgeattn.manifest import MANIFEST
    from edgeattn.report.html import save
    from edgeattn.store import disk_errors

    bundles = [Bundle.open(path) for path in paths]
    if out is not None:
        if (out / MANIFEST).exists():
            raise InputError(f"{out} is a bundle", where="--out", fix="choose a folder for the results alone")
        with disk_errors(out.parent, "choose another --out"):
            out.mkdir(parents=True, exist_ok=True)
    document = job.over(bundles, progress, None if out is None else out / "report.html")
    if out is not None:
        save(document, bundles, out)
    return document
