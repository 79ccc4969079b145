"""`edgeattn estimate`: what a recipe can gain on a device, or what a bundle's candidates take, predicted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from edgeattn.cli.console import common_options, emit, lengths_of


@click.command("estimate")
@click.argument("source", metavar="BUNDLE|RECIPE")
@click.option(
    "--target",
    default="cpu",
    show_default=True,
    metavar="NAME",
    help="A device that `edgeattn devices` lists, or the path of a profile, such as ./board.yaml.",
)
@click.option(
    "--lengths", callback=lengths_of, metavar="N,N", help="Lengths; those of the bundle or the recipe by default."
)
@click.option(
    "--root",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder that file names in the recipe are relative to; the recipe's own by default.",
)
@click.option("--fresh", is_flag=True, help="Measure the rates of this machine again; for --target cpu.")
@common_options
def command(
    source: str, target: str, lengths: tuple[int, ...] | None, root: Path | None, fresh: bool, as_json: bool
) -> None:
    """Predict latency and energy of dense and efficient attention on a device, in each power mode.

    Of a recipe, a .yaml file or a name that `edgeattn recipes` lists: what its plan can gain at most, before anything
    is trained. Of a bundle's folder: what its candidates take, the fastest first. Nothing is measured on the device,
    which need not be here; of --target cpu, the rates of this machine are measured once, in about 10 seconds.
    It needs the host half: see `edgeattn doctor`.
    """
    from edgeattn.devices import load_device
    from edgeattn.report.estimate import show_estimate

    profile = load_device(target)
    if Path(source).is_dir():
        document = _of_bundle(Path(source), profile, lengths, fresh)
    else:
        document = _of_recipe(source, root, profile, lengths, fresh)
    emit(document, as_json, lambda: show_estimate(document))


def _of_bundle(folder: Path, profile: Any, lengths: Sequence[int] | None, fresh: bool) -> dict[str, Any]:
    from edgeattn.bundle import Bundle
    from edgeattn.estimate.asked import asked_of
    from edgeattn.estimate.predict import document, rates_of

    bundle = Bundle.open(folder)
    asked = asked_of(bundle, lengths)
    return document(asked, profile, rates_of(profile, fresh=fresh), of="bundle", name=bundle.manifest.name)


def _of_recipe(
    source: str, root: Path | None, profile: Any, lengths: Sequence[int] | None, fresh: bool
) -> dict[str, Any]:
    from edgeattn.recipe import load_recipe

    loaded = load_recipe(source, root=root)
    from edgeattn.estimate.predict import document, rates_of  # after the reader, whose errors do not need its libraries

    rates = rates_of(profile, fresh=fresh)  # what the profile lacks is said before a model is made
    from edgeattn.estimate.untrained import asked_of_recipe
    from edgeattn.progress import Progress
    from edgeattn.scratch import scratch

    with scratch("estimate") as folder:
        asked = asked_of_recipe(loaded, profile, folder, lengths, Progress())
        return document(asked, profile, rates, of="recipe", name=loaded.recipe.name)
