"""`edgeattn compile`: a recipe becomes a bundle."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeattn.cli.console import common_options, emit

if TYPE_CHECKING:
    from edgeattn.bundle import Bundle
    from edgeattn.hosts.base import Host
    from edgeattn.target import Target

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
    help="Where the target is: a name of `edgeattn hosts`, local, or none to leave the bundle unbuilt. This machine by "
    "default, if it is the target. Given again: side by side.",
)
@click.option("--wait", is_flag=True, help="Wait for a host that is busy.")
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
    recipe: str,
    target: str,
    hosts: tuple[str, ...],
    wait: bool,
    out: Path | None,
    resume: bool,
    root: Path | None,
    as_json: bool,
) -> None:
    """Make a bundle from RECIPE, a .yaml file or a name that `edgeattn recipes` lists.

    Swaps the attention, distills, exports and quantizes here; builds, checks and times on the target's host. Leaves a
    folder that runs on the target. Finished stages come from the store; a killed run continues where it stopped.
    It needs the host half: see `edgeattn doctor`.
    """
    import os

    from edgeattn.devices import usable_threads
    from edgeattn.hosts import open_host
    from edgeattn.recipe import load_recipe
    from edgeattn.target import default_host, resolve

    # Before torch starts its threads: it counts the machine's cores, not those that a container may use, and threads
    # without a core of their own wait for one another at every barrier.
    os.environ.setdefault("OMP_NUM_THREADS", str(usable_threads()))
    loaded = load_recipe(recipe, root=root)
    # A host that cannot be reached is found out before anything is trained.
    named = hosts or (default_host(target),)
    targets = [resolve(target, None if name == NO_HOST else open_host(name, wait=wait)) for name in named]
    folder = out or Path("bundles") / f"{loaded.recipe.name}-{Path(target).stem}"
    if len(targets) == 1:
        _one(loaded, targets[0], folder, not resume, as_json)
    else:
        _several(loaded, targets, folder, not resume, as_json)


def _one(loaded: Any, target: Target, out: Path, fresh: bool, as_json: bool) -> None:
    from edgeattn.pipeline import make, ship
    from edgeattn.progress import Progress
    from edgeattn.report.summary import show_bundle
    from edgeattn.store import Store

    run = make(loaded, target, out, store=Store(Store.default_root()), progress=Progress(), fresh=fresh)
    bundle = ship(run, out)
    emit(_document(bundle), as_json, lambda: show_bundle(bundle))


def _several(loaded: Any, targets: Sequence[Target], out: Path, fresh: bool, as_json: bool) -> None:
    """Each host's bundle goes into a folder of its name. What needs no device is made first, one after another."""
    from edgeattn.cli.on_hosts import at_once, emit_outcomes
    from edgeattn.errors import InputError
    from edgeattn.pipeline import make, ship
    from edgeattn.progress import Progress
    from edgeattn.store import Store

    hosts = [target.host for target in targets if target.host is not None]
    if len(hosts) < len(targets):
        raise InputError("--host none stands beside other hosts", where="--host", fix="compile it by itself")
    runs = {}
    for number, target in enumerate(targets):
        host = hosts[number]
        store = Store(Store.default_root())
        run = make(loaded, target, out / host.name, store=store, progress=Progress(), fresh=fresh and number == 0)
        run.progress = Progress(bars=False)
        runs[host.name] = run

    def finish(host: Host) -> dict[str, Any]:
        bundle = ship(runs[host.name], out / host.name)
        measured: dict[str, Any] = json.loads((bundle.path / "bench.json").read_text(encoding="utf-8"))
        return {**measured, **_document(bundle)}

    emit_outcomes(at_once(hosts, finish), as_json)


def _document(bundle: Bundle) -> dict[str, Any]:
    return {"bundle": str(bundle.path), "manifest": bundle.manifest.model_dump(mode="json")}
