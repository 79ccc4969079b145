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
    import time

    from edgeattn.bench.protocol import Protocol
    from edgeattn.bench.session import run
    from edgeattn.bundle import Bundle
    from edgeattn.progress import Progress, duration
    from edgeattn.report.html import refresh
    from edgeattn.report.table import show_bench

    progress, start = Progress(), time.monotonic()
    opened = Bundle.open(bundle)
    protocol = Protocol.quick() if quick else Protocol()
    spec = opened.manifest.bench
    least, most = protocol.seconds(len(lengths or spec.lengths or (None,)), pairs or spec.pairs)
    progress.stage("bench", f"dense and efficient in turn, takes {duration(least)} to {duration(most)}")
    document = run(
        opened,
        lengths=lengths,
        pairs=pairs,
        threads=threads,
        protocol=protocol,
        progress=progress,
    )
    report = refresh(opened)
    progress.finish("bench", time.monotonic() - start, note=str(report))
    emit(document, as_json, lambda: show_bench(document))
