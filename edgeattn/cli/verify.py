"""`edgeattn verify`: checks that the shipped engine is still right on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from edgeattn.cli.console import common_options, emit
from edgeattn.cli.on_hosts import host_options, side_by_side
from edgeattn.cli.outcomes import emit_outcomes


@click.command("verify")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--threads", type=click.IntRange(1, 1024), help="Threads of the engine; the usable cores by default.")
@host_options
@common_options
def command(bundle: Path, threads: int | None, hosts: tuple[str, ...], wait: bool, as_json: bool) -> None:
    """Run the efficient engine of BUNDLE on its golden samples and evaluation data, and check it against its floor.

    Records verify.json and report.html in the bundle; exits with 1 when it fails.
    """
    from edgeattn.errors import VerificationError
    from edgeattn.hosts import open_host
    from edgeattn.jobs import Verify
    from edgeattn.progress import Progress
    from edgeattn.report.table import show_verify

    job = Verify(threads)
    if len(hosts) > 1:
        emit_outcomes(side_by_side(hosts, wait, job, bundle), as_json)
        return
    document = open_host(hosts[0] if hosts else None, wait=wait).run(job, bundle, Progress())
    emit(document, as_json, lambda: show_verify(document))
    if not document["passed"]:
        if as_json:
            raise click.exceptions.Exit(VerificationError.exit_code)  # the document on stdout says why
        raise VerificationError(
            "the bundle failed verification: " + "; ".join(document["reasons"]),
            where=str(bundle),
            fix="do not ship it; compile it again",
        )
