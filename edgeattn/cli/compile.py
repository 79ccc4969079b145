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
Run = Any  # edgeattn.stage.Runner, of the host half, which this file imports in functions only


@click.command("compile")
@click.argument("recipe")
@click.option(
    "--target",
    "names",
    multiple=True,
    default=("cpu",),
    show_default=True,
    metavar="NAME",
    help="A device that `edgeattn devices` lists, or the path of a profile, such as ./board.yaml. Given again: a "
    "bundle for each.",
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
    help="Folder of the bundle; bundles/NAME-TARGET by default. With several targets or hosts, each has a folder in "
    "it.",
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
    names: tuple[str, ...],
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
    from edgeattn.pipeline import start
    from edgeattn.progress import Progress
    from edgeattn.recipe import load_recipe
    from edgeattn.store import Store

    # Before torch starts its threads: it counts the machine's cores, not those that a container may use, and threads
    # without a core of their own wait for one another at every barrier.
    os.environ.setdefault("OMP_NUM_THREADS", str(usable_threads()))
    loaded = load_recipe(recipe, root=root)
    # What cannot be reached or compiled is found out for all targets and hosts before anything is trained.
    targets = _resolved(names, hosts, wait)
    folders = _folders(targets, out, loaded.recipe.name)
    store = Store(Store.default_root())
    runs = [
        start(loaded, target, folder, store=store, progress=Progress(), fresh=not resume)
        for target, folder in zip(targets, folders, strict=True)
    ]
    if len(runs) == 1:
        _one(runs[0], folders[0], as_json)
    elif len(names) > 1:
        _for_targets(runs, folders, as_json)
    else:
        _on_hosts(runs, folders, as_json)


def _resolved(names: Sequence[str], hosts: Sequence[str], wait: bool) -> list[Target]:
    """One target on each of the hosts, or each of several targets where it is by default."""
    from edgeattn.cli.on_hosts import require_distinct
    from edgeattn.errors import InputError
    from edgeattn.hosts import open_host
    from edgeattn.target import default_host, resolve

    if len(names) > 1 and hosts and hosts != (NO_HOST,):
        raise InputError(
            f"--host {hosts[0]} says where one target is, and {len(names)} are named",
            where="--host",
            fix="compile each target by itself, which trains once; or use --host none, which leaves all unbuilt",
        )
    if len(hosts) > 1 and NO_HOST in hosts:
        raise InputError("--host none stands beside other hosts", where="--host", fix="compile it by itself")
    places = [(name, host) for name in names for host in hosts or (default_host(name),)]
    targets = [resolve(name, None if host == NO_HOST else open_host(host, wait=wait)) for name, host in places]
    known = [target.profile.name for target in targets]
    if len(names) > 1 and len(set(known)) < len(known):
        raise InputError(f"--target names {max(known, key=known.count)} twice", fix="name each target once")
    if len(hosts) > 1:
        require_distinct([target.host for target in targets if target.host])
    return targets


def _folders(targets: Sequence[Target], out: Path | None, recipe: str) -> list[Path]:
    """Where each target's bundle goes."""
    bundles = [out or Path("bundles") / f"{recipe}-{target.profile.name}" for target in targets]
    if len(targets) == 1:
        return bundles
    if len({target.profile.name for target in targets}) > 1:
        return [out / target.profile.name for target in targets] if out else bundles
    return [folder / target.host.name for folder, target in zip(bundles, targets, strict=True) if target.host]


def _one(run: Run, out: Path, as_json: bool) -> None:
    from edgeattn.pipeline import make, ship
    from edgeattn.report.summary import show_bundle

    make(run)
    bundle = ship(run, out)
    emit(_document(bundle), as_json, lambda: show_bundle(bundle))


def _for_targets(runs: Sequence[Run], folders: Sequence[Path], as_json: bool) -> None:
    """One target after another, because two builds on one machine would disturb each other's timings."""
    from edgeattn.cli.outcomes import Outcome, emit_outcomes
    from edgeattn.pipeline import make, ship, train
    from edgeattn.report.summary import show_bundle

    train(runs[0])
    bundles: dict[str, Bundle] = {}
    outcomes = []
    for run, folder in zip(runs, folders, strict=True):
        outcome = Outcome(run.device.name)
        run.progress.line(f"target {outcome.name}")
        with outcome.caught():
            make(run)
            bundle = bundles[outcome.name] = ship(run, folder)
            outcome.document = _document(bundle)
        outcomes.append(outcome)

    def show(found: Sequence[tuple[str, Any]]) -> None:
        for name, _ in found:
            click.echo(f"\n-- {name}")
            show_bundle(bundles[name])

    emit_outcomes(outcomes, as_json, show, key="target")


def _on_hosts(runs: Sequence[Run], folders: Sequence[Path], as_json: bool) -> None:
    """What needs no device is made first, one host after another; the rest at the same time."""
    from edgeattn.cli.on_hosts import at_once
    from edgeattn.cli.outcomes import emit_outcomes
    from edgeattn.pipeline import make, ship
    from edgeattn.progress import Progress

    of: dict[str, tuple[Run, Path]] = {}
    hosts: list[Host] = []
    for run, folder in zip(runs, folders, strict=True):
        assert run.host is not None  # of several hosts none is "none"
        make(run)
        run.progress = Progress(bars=False)
        hosts.append(run.host)
        of[run.host.name] = run, folder

    def finish(host: Host) -> dict[str, Any]:
        bundle = ship(*of[host.name])
        measured: dict[str, Any] = json.loads((bundle.path / "bench.json").read_text(encoding="utf-8"))
        return {**measured, **_document(bundle)}

    emit_outcomes(at_once(hosts, finish), as_json)


def _document(bundle: Bundle) -> dict[str, Any]:
    return {"bundle": str(bundle.path), "manifest": bundle.manifest.model_dump(mode="json")}
