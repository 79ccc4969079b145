"""`edgeattn gate`: whether a bundle is worse than a baseline, for merges to wait for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeattn.cli.console import common_options, emit, lengths_of

if TYPE_CHECKING:
    from edgeattn.gate.calibration import Calibration

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
    help="Folder for gate.json, gate.md and junit.xml; with --calibrate, for the calibration file.",
)
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
    as_json: bool,
) -> None:
    """Measure BUNDLE against a baseline in pairs of fresh processes, and say PASS, FAIL or INCONCLUSIVE.

    Exits with 0, 1 or 3; with 4 where the baseline does not run here as it did where it was saved. A failure has been
    measured twice. Nothing is written without --out.
    """
    from edgeattn.bundle import Bundle
    from edgeattn.errors import InputError
    from edgeattn.gate import calibration
    from edgeattn.gate.baseline import open_baseline
    from edgeattn.gate.report import print_document, save
    from edgeattn.gate.run import Options, gate
    from edgeattn.progress import Progress

    if calibrate:
        found = calibration.calibrate(Bundle.open(bundle), quick=quick, progress=Progress())
        file = calibration.file_of(quick) if out is None else out / "calibration.json"
        calibration.save(found, file)
        emit(found.model_dump(mode="json", by_alias=True), as_json, lambda: _show(found, file))
        return
    if baseline is None:
        raise InputError("there is nothing to compare with", where="--baseline", fix="name a baseline, or --calibrate")
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
    document = gate(
        Bundle.open(bundle),
        open_baseline(baseline, digest=baseline_digest),
        options,
        calibration=calibration.find(quick),
        progress=Progress(),
    )
    if out is not None:
        save(document, out)
    emit(document.model_dump(mode="json", by_alias=True), as_json, lambda: print_document(document))
    if document.exit_code:
        raise click.exceptions.Exit(document.exit_code)


def _show(found: Calibration, file: Path) -> None:
    from edgeattn.gate.text import calibration
    from edgeattn.report.table import lines

    facts = found.model_dump(mode="json", by_alias=True)
    for each in found.injected:
        low, high = (f"{bound:+.1%}" if bound is not None else "n/a" for bound in (each.low, each.high))
        lines([f"{each.share:.0%} extra work: {each.measured:+.1%} measured ({low} to {high})"])
    lines([f"pairs spread by {found.spread:.1%} with no change", calibration(facts, found.catch), f"written: {file}"])
