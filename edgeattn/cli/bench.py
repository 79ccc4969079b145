"""`edgeattn bench`: dense and efficient side by side on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from edgeattn.cli.console import common_options, emit, lengths_of


@click.command("bench")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--lengths", callback=lengths_of, metavar="N,N", help="Tokens; the bundle's own by default.")
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
@common_options
def command(
    bundle: Path,
    lengths: tuple[int, ...] | None,
    pairs: int | None,
    threads: int | None,
    quick: bool,
    as_json: bool,
) -> None:
    """Time the dense and the efficient engine of BUNDLE in turn, and record bench.json and report.html in it."""
    from edgeattn.hosts import open_host
    from edgeattn.jobs import Bench
    from edgeattn.progress import Progress
    from edgeattn.report.table import show_bench

    document = open_host(None).run(Bench(lengths, pairs, threads, quick), bundle, Progress())
    emit(document, as_json, lambda: show_bench(document))
