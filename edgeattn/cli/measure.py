"""`edgeattn measure`: times the graphs of a crossover on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from edgeattn.cli.console import common_options, emit


@click.command("measure")
@click.argument("folder", type=click.Path(path_type=Path))
@common_options
def command(folder: Path, as_json: bool) -> None:
    """Time the graphs in FOLDER, which `edgeattn crossover --export FOLDER` has made, on this machine.

    Prints the length from which each attention variant is faster than dense attention here. Needs no torch.
    """
    from edgeattn.hosts import open_host
    from edgeattn.jobs import Measure
    from edgeattn.measure.table import show_crossover
    from edgeattn.progress import Progress

    document = open_host(None).run(Measure(), folder, Progress())
    emit(document, as_json, lambda: show_crossover(document))
