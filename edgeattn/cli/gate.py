"""`edgeattn gate`: whether a bundle is worse than a baseline, for merges to wait for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeattn.cli.console import common_options, emit, lengths_of

if TYPE_CHECKING:
    from edgeattn.gate.document import Document
    from edgeattn.jobs import Gate

_PERCENT = click.FloatRange(0, 1000)


@click.command("gate")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--baseline", type=click.Path(path_type=Path), help="A folder of `edgeattn baseline save`, or a bundle.")
@click.option("--baseline-digest", metavar="sha256:...", help="The digest that the baseline's bundle must have.")
@click.option("--ignore", type=_PERCENT, default=1.0, show_default=True, help="Percent: a change up to this passes.")
@click.option("--catch", type=_PERCENT, default=5.0, show_default=True, help="Percent: a change of this is caught.")
@click.option("--quick", is_flag=True, help="Time each process for a second: for small models in pull requests.")
@click.option("--lengths", callback=lengths_of, metavar="N,N", help="Lengths to time; the baseline's own by default.")
@click.option("--threads", type=click.IntRange(1, 1024), help="Threads of an engine; the usable cores by default.")
@click.option(
    "--advisory",
    multiple=True,
    metavar="METRIC",
    help="Report this metric, such as p50, without letting it decide. May be given again.",
)
@click.option("--memory-limit", type=click.FloatRange(min=0, min_open=True), metavar="MB", help="Peak memory allowed.")
@click.option(
    "--extra-work",
    type=_PERCENT,
    default=0.0,
    metavar="PERCENT",
    help="Do this much extra work in each inference of BUNDLE, to see the gate fail.",
)
@click.option("--calibrate", is_flag=True, help="Measure the false alarms and the power of the gate on this machine.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for gate.json, gate.md and junit.xml; with --calibrate, for calibration.json.",
)
@click.option("--host", metavar="NAME", help="A host of `edgeattn hosts`; this machine by default.")
@click.option("--wait", is_flag=True, help="Wait for a host that is busy.")
@common_options
def command(
    bundle: Path,
    baseline: Path | None,
    baseline_digest: str | None,
    ignore: float,
    catch: float,
    quick: bool,
    lengths: tuple[int, ...] | None,
    threads: int | None,
    advisory: tuple[str, ...],
    memory_limit: float | None,
    extra_work: float,
    calibrate: bool,
    out: Path | None,
    host: str | None,
    wait: bool,
    as_json: bool,
) -> None:
    """Measure BUNDLE against a baseline in pairs of fresh processes, and say PASS, FAIL or INCONCLUSIVE.

    Exits with 0, 1 or 3; with 4 where the baseline does not run here as it did where it was saved. A failure has been
    measured twice. Nothing is written without --out.
    """
    from edgeattn.gate.report import print_document, save
    from edgeattn.gate.run import Options
    from edgeattn.jobs import Gate

    if calibrate:
        _calibrate(bundle, quick, out, host, wait, as_json)
        return
    options = Options(
        ignore=ignore / 100,
        catch=catch / 100,
        quick=quick,
        lengths=lengths or (),
        threads=threads,
        advisory=frozenset(advisory),
        memory_limit_mb=memory_limit,
        extra_work=extra_work / 100,
    )
    document = _run(Gate(options), bundle, baseline, baseline_digest, host, wait)
    if out is not None:
        save(document, out)
    emit(document.model_dump(mode="json", by_alias=True), as_json, lambda: print_document(document))
    if document.exit_code:
        raise click.exceptions.Exit(document.exit_code)


def _run(job: Gate, bundle: Path, baseline: Path | None, digest: str | None, host: str | None, wait: bool) -> Document:
    """The document of a gate here, or on a host; there, BUNDLE is a folder that holds both bundles."""
    from edgeattn.bundle import Bundle
    from edgeattn.errors import InputError
    from edgeattn.gate.baseline import open_baseline
    from edgeattn.gate.calibration import find
    from edgeattn.gate.document import received
    from edgeattn.gate.run import gate
    from edgeattn.gate.shipment import SHIPMENT, ship
    from edgeattn.hosts import open_host
    from edgeattn.progress import Progress
    from edgeattn.scratch import scratch

    progress = Progress()
    if baseline is None:
        if (bundle / SHIPMENT).is_file():
            return received(job.run(bundle, progress), "this machine")
        raise InputError("there is nothing to compare with", where="--baseline", fix="name a baseline, or --calibrate")
    candidate, against = Bundle.open(bundle), open_baseline(baseline, digest=digest)
    if host is None:
        return gate(candidate, against, job.options, calibration=find(job.options.quick), progress=progress)
    with scratch("gate") as folder:
        shipment = ship(candidate, against, folder)
        found = received(open_host(host, wait=wait, record=False).run(job, shipment.path, progress), host)
    return found.seen_from(str(bundle), str(baseline), [*job.options.arguments(), "--host", host])


def _calibrate(bundle: Path, quick: bool, out: Path | None, host: str | None, wait: bool, as_json: bool) -> None:
    from edgeattn.gate.calibration import received, save
    from edgeattn.gate.text import calibration
    from edgeattn.hosts import open_host
    from edgeattn.jobs import Calibrate
    from edgeattn.progress import Progress
    from edgeattn.report.table import lines

    document = open_host(host, wait=wait, record=host is None).run(Calibrate(quick), bundle, Progress())
    found = received(document, host or "this machine")
    if out is not None:
        save(found, out / "calibration.json")

    def human() -> None:
        for each in found.injected:
            low, high = (f"{bound:+.1%}" if bound is not None else "n/a" for bound in (each.low, each.high))
            lines([f"{each.share:.0%} extra work: {each.measured:+.1%} measured ({low} to {high})"])
        lines([f"pairs spread by {found.spread:.1%} with no change", calibration(document, found.catch)])

    emit(document, as_json, human)
