"""`edgeattn compile`: a recipe becomes a bundle."""

from __future__ import annotations

from pathlib import Path

import click

from edgeattn.cli.console import common_options, emit

NO_HOST = "none"


@click.command("compile")
@click.argument("recipe")
@click.option(
    "--target",
    default="cpu",
    show_default=True,
    metavar="NAME",
    help="A device that `edgeattn devices` lists, or the path of a profile, such as ./board.yaml.",
)
@click.option(
    "--host",
    "hosts",
    multiple=True,
    metavar="HOST",
    help="Where the target is: user@device[:port], a name of `edgeattn hosts`, local, or none to leave the bundle "
    "unbuilt. This machine by default, if it is the target. May be given several times.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the bundle; bundles/NAME-TARGET by default. With several hosts, each has a folder in it.",
)
@click.option("--resume/--fresh", default=True, help="Take finished stages from the store, or run every stage again.")
@click.option(
    "--root",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder that file names in the recipe are relative to; the recipe's own by default.",
)
@common_options
def command(
    recipe: str, target: str, hosts: tuple[str, ...], out: Path | None, resume: bool, root: Path | None, as_json: bool
) -> None:
    """Make a bundle from RECIPE, a .yaml file or a name that `edgeattn recipes` lists.

    Swaps the attention, distills, exports and quantizes here; builds, checks and times on the target's host. Leaves a
    folder that runs on the target. Finished stages come from the store; a killed run continues where it stopped.
    It needs the host half: see `edgeattn doctor`.
    """
    import os

    from edgeattn.devices import usable_threads
    from edgeattn.hosts import open_host
    from edgeattn.pipeline import compile_recipe
    from edgeattn.progress import Progress
    from edgeattn.recipe import load_recipe
    from edgeattn.report.summary import show_bundle
    from edgeattn.store import Store
    from edgeattn.target import default_host, resolve

    # Before torch starts its threads: it counts the machine's cores, not those that a container may use, and threads
    # without a core of their own wait for one another at every barrier.
    os.environ.setdefault("OMP_NUM_THREADS", str(usable_threads()))
    named = hosts or (default_host(target),)
    # Before the recipe is read: a host that cannot be reached is found out before anything is trained.
    targets = {name: resolve(target, None if name == NO_HOST else open_host(name)) for name in named}
    loaded = load_recipe(recipe, root=root)
    folder = out or Path("bundles") / f"{loaded.recipe.name}-{Path(target).stem}"
    bundles = [
        compile_recipe(
            loaded, each, folder if len(targets) == 1 else folder / name,
            store=Store(Store.default_root()), progress=Progress(), fresh=not resume and number == 0,
        )
        for number, (name, each) in enumerate(targets.items())
    ]  # fmt: skip
    documents = [
        {"bundle": str(bundle.path), "manifest": bundle.manifest.model_dump(mode="json")} for bundle in bundles
    ]

    def human() -> None:
        for bundle in bundles:
            show_bundle(bundle)

    emit(documents[0] if len(documents) == 1 else documents, as_json, human)
