"""`edgeattn report`: the page of a bundle again, or of several side by side."""

from __future__ import annotations

import os
from pathlib import Path

import click

from edgeattn.cli.console import common_options, emit


@click.command("report")
@click.argument("bundle", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.html",
    help="Write the page here, in place of report.html in the bundle.",
)
@common_options
def command(bundle: tuple[Path, ...], out: Path | None, as_json: bool) -> None:
    """Make report.html of BUNDLE again, from the evidence in it.

    Of several bundles, write one page with all of them side by side to --out. Nothing is measured. Pictures need
    `pip install 'edgeattn[report]'`.
    """
    from edgeattn.bench.bundles import names
    from edgeattn.bundle import Bundle
    from edgeattn.cli.installed import how_to_install
    from edgeattn.errors import InputError, ResourceError
    from edgeattn.manifest import MANIFEST
    from edgeattn.report import pictures
    from edgeattn.report.html import evidence, refresh, write
    from edgeattn.report.subject import Subject
    from edgeattn.report.table import lines

    if len(bundle) > 1 and out is None:
        fix = "name a file, such as --out compare.html"
        raise InputError("the page of several bundles belongs to none of them", where="--out", fix=fix)
    if out is not None and (out.parent / MANIFEST).exists():
        raise InputError(f"{out.parent} is a bundle", where="--out", fix="choose a file outside of it")
    bundles = [Bundle.open(path) for path in bundle]
    if out is None and not os.access(bundle[0], os.W_OK):
        raise ResourceError("the folder is read-only", where=str(bundle[0]), fix="write the page elsewhere with --out")
    if out is None:
        file = refresh(bundles[0])
    else:
        labels = names(bundle) if len(bundle) > 1 else [bundles[0].name]
        found = [evidence(each, label) for each, label in zip(bundles, labels, strict=True)]
        file = write(Subject(found), out)
    document = {
        "report": str(file),
        "bundles": [each.manifest.digest for each in bundles],
        "pictures": pictures.available(),
    }

    def human() -> None:
        lines([f"report: {file}"])
        if not pictures.available():
            lines([f"without pictures: matplotlib is not installed; {how_to_install('report')}"])

    emit(document, as_json, human)
