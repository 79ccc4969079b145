"""`edgeattn build`: makes the engines of a bundle on the device that it is for."""

from __future__ import annotations

from pathlib import Path

import click

from edgeattn.cli.console import common_options, emit


@click.command("build")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--keep-candidates", is_flag=True, help="Keep the graphs that are not chosen, to build again elsewhere.")
@click.option("--host", metavar="NAME", help="A host of `edgeattn hosts`; this machine by default.")
@click.option("--wait", is_flag=True, help="Wait for a host that is busy.")
@common_options
def command(bundle: Path, keep_candidates: bool, host: str | None, wait: bool, as_json: bool) -> None:
    """Build the engines of BUNDLE's candidates, time them on this machine, and keep the best that is accurate.

    Tries every candidate with every runtime of the target that is installed, in each of its configurations. Records
    build.json and report.html in the bundle.
    """
    from edgeattn.hosts import open_host
    from edgeattn.jobs import Build
    from edgeattn.progress import Progress
    from edgeattn.report.table import show_build

    document = open_host(host, wait=wait).run(Build(keep_candidates=keep_candidates), bundle, Progress())
    emit(document, as_json, lambda: show_build(document))
