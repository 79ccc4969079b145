"""`edgeattn compile`: a recipe becomes a bundle."""

from __future__ import annotations

from pathlib import Path

import click

from edgeattn.cli.console import common_options, emit


@click.command("compile")
@click.argument("recipe")
@click.option(
    "--target", default="cpu", show_default=True, metavar="NAME", help="A device that `edgeattn devices` lists."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the bundle; bundles/NAME-TARGET by default.",
)
@click.option("--resume/--fresh", default=True, help="Take finished stages from the store, or run every stage again.")
@click.option(
    "--root",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder that file names in the recipe are relative to; the recipe's own by default.",
)
@common_options
def command(recipe: str, target: str, out: Path | None, resume: bool, root: Path | None, as_json: bool) -> None:
    """Make a bundle from RECIPE, a .yaml file or a name that `edgeattn recipes` lists.

    Swaps the attention, distills, exports, quantizes, checks and times, and leaves a folder that runs on the
    target. Finished stages come from the store; a killed run continues where it stopped.
    It needs the host half: see `edgeattn doctor`.
    """
    import os

    from edgeattn.devices import load_device, usable_threads
    from edgeattn.pipeline import compile_recipe
    from edgeattn.progress import Progress
    from edgeattn.recipe import load_recipe
    from edgeattn.report.summary import show_bundle
    from edgeattn.store import Store

    # Before torch starts its threads: it counts the machine's cores, not those that a container may use, and threads
    # without a core of their own wait for one another at every barrier.
    os.environ.setdefault("OMP_NUM_THREADS", str(usable_threads()))
    device = load_device(target)
    loaded = load_recipe(recipe, root=root)
    out = out or Path("bundles") / f"{loaded.recipe.name}-{target}"
    bundle = compile_recipe(
        loaded, device, out, store=Store(Store.default_root()), progress=Progress(), fresh=not resume
    )
    document = {"bundle": str(bundle.path), "manifest": bundle.manifest.model_dump(mode="json")}
    emit(document, as_json, lambda: show_bundle(bundle))
