"""`edgeattn bench`: dense and efficient of a bundle side by side, or the shipped engines of several."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeattn.cli.console import common_options, emit, lengths_of
from edgeattn.cli.on_hosts import host_options, side_by_side
from edgeattn.cli.outcomes import emit_outcomes

if TYPE_CHECKING:
    from edgeattn.hosts.base import Host
    from edgeattn.jobs import Bench


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
    "--profile",
    is_flag=True,
    help="Then also time each operator of the engines, by layer and kind: profile.json. The timed figures are as ever.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for bench.json and report.html, in place of the bundle.",
)
@click.option(
    "--scenario",
    default="single",
    metavar="NAME",
    show_default=True,
    help="The load: single (one request at a time), offline (batches back to back), server (requests that arrive at "
    "random), or decode (tokens one by one, with carried state).",
)
@click.option(
    "--rate",
    type=float,
    metavar="N",
    help="Requests per second of the scenario server; 70 % of what the slowest engine sustains by default.",
)
@click.option(
    "--batch-size", type=click.IntRange(1, 2**22), help="Samples per inference of the scenario offline; 8 by default."
)
@host_options
@common_options
def command(
    bundle: tuple[Path, ...],
    lengths: tuple[int, ...] | None,
    pairs: int | None,
    threads: int | None,
    quick: bool,
    profile: bool,
    out: Path | None,
    scenario: str,
    rate: float | None,
    batch_size: int | None,
    hosts: tuple[str, ...],
    wait: bool,
    as_json: bool,
) -> None:
    """Time the dense and the efficient engine of BUNDLE in turn, and record bench.json and report.html in it.

    With several bundles, time their efficient engines in turn; the first is the reference. Their results are printed,
    and written only with --out.

    Each scenario has a document of its own: bench.json is that of single requests, the others are bench-NAME.json.

    Exits with 4 where the machine was in no state to be measured: throttling, or another power mode in the midst.
    """
    from edgeattn.bench.conditions import invalid_because
    from edgeattn.bench.scenarios import DEFAULT, scenario_of
    from edgeattn.errors import DeviceError, InputError
    from edgeattn.hosts import open_host
    from edgeattn.jobs import Bench
    from edgeattn.progress import Progress
    from edgeattn.report.profile import show_profile
    from edgeattn.report.table import lines, show_bench

    options = scenario_of(scenario, rate_per_s=rate, batch_size=batch_size)  # raises before anything is opened or sent
    if profile and options.name != DEFAULT:
        raise InputError("--profile is of single requests", where=f"--scenario {scenario}", fix="leave one of them out")
    job = Bench(lengths, pairs, threads, quick, profile, scenario, rate, batch_size)
    if hosts and len(bundle) > 1:
        raise InputError("--host takes one bundle", where="--host", fix="bench each bundle by itself")
    if len(hosts) > 1:
        if out is not None:
            raise InputError("--out takes the results of one host", where="--out", fix="use --json for several")
        emit_outcomes(side_by_side(hosts, wait, job, bundle[0]), as_json)
        return
    host = open_host(hosts[0] if hosts else None, wait=wait, record=out is None)
    if len(bundle) == 1 and out is None:
        document = host.run(job, bundle[0], Progress())
    else:
        document = _elsewhere(job, bundle, out, host if hosts else None)
    report = bundle[0] if out is None and len(bundle) == 1 else out

    def human() -> None:
        show_bench(document)
        if "profile" in document:
            show_profile(document["profile"])
        if report is not None:
            lines([f"report: {report / 'report.html'}"])

    emit(document, as_json, human)
    if invalid_because(document) is not None:
        raise click.exceptions.Exit(DeviceError.exit_code)


def _elsewhere(job: Bench, paths: Sequence[Path], out: Path | None, host: Host | None) -> dict[str, Any]:
    """The document of bundles in which nothing is recorded; it is written into `out`, if that is given.

    host: where the one bundle is timed; None for this machine.
    """
    from edgeattn.bundle import Bundle
    from edgeattn.errors import InputError
    from edgeattn.manifest import MANIFEST
    from edgeattn.profiling.run import parted
    from edgeattn.progress import Progress
    from edgeattn.report.html import save
    from edgeattn.store import disk_errors

    bundles = [Bundle.open(path) for path in paths]
    if out is not None:
        if (out / MANIFEST).exists():
            raise InputError(f"{out} is a bundle", where="--out", fix="choose a folder for the results alone")
        with disk_errors(out.parent, "choose another --out"):
            out.mkdir(parents=True, exist_ok=True)
    if host is not None:
        document = host.run(job, paths[0], Progress())
    else:
        document = job.over(bundles, Progress())
    if out is not None:
        save(parted(document, job.scenario), bundles, out)
    return document
