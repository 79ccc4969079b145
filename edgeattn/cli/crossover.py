"""`edgeattn crossover`: the length from which each attention variant is faster on a device."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeattn.cli.console import common_options, emit, lengths_of
from edgeattn.cli.on_hosts import host_options, side_by_side
from edgeattn.cli.outcomes import emit_outcomes
from edgeattn.errors import InputError

if TYPE_CHECKING:
    from edgeattn.devices import DeviceProfile

_LENGTHS = "64,128,256,512,1024,2048,4096"


def _names(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    return None if value is None else tuple(part.strip() for part in value.split(","))


@click.command("crossover")
@click.option(
    "--target", default="cpu", show_default=True, metavar="NAME", help="A device that `edgeattn devices` lists."
)
@click.option("--heads", type=click.IntRange(1, 512), default=12, show_default=True, help="Attention heads.")
@click.option("--head-dim", type=click.IntRange(4, 512), default=32, show_default=True, help="Width of a head.")
@click.option(
    "--lengths", callback=lengths_of, default=_LENGTHS, show_default=True, metavar="N,N", help="Tokens of a sequence."
)
@click.option(
    "--variants", callback=_names, metavar="NAME,NAME", help="By default all that support the mode, causal or not."
)
@click.option("--options", metavar="VARIANT.OPTION=VALUE,...", help="Such as sliding_window.window=256.")
@click.option("--causal", is_flag=True, help="As in a decoder: a token attends to itself and earlier tokens.")
@click.option(
    "--key-mask/--no-key-mask", default=True, show_default=True, help="With the padding mask that text models have."
)
@click.option("--batch-size", type=click.IntRange(1, 1024), default=1, show_default=True, help="Sequences at a time.")
@click.option("--threads", type=click.IntRange(1, 1024), help="Threads of an engine; the usable cores by default.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write crossover.json, .txt, .svg and .png into this folder.",
)
@click.option(
    "--export",
    "export_to",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Only write the graphs into this folder, for `edgeattn measure FOLDER` on a device.",
)
@host_options
@common_options
def command(
    target: str,
    heads: int,
    head_dim: int,
    lengths: tuple[int, ...],
    variants: tuple[str, ...] | None,
    options: str | None,
    causal: bool,
    key_mask: bool,
    batch_size: int,
    threads: int | None,
    out: Path | None,
    export_to: Path | None,
    hosts: tuple[str, ...],
    wait: bool,
    as_json: bool,
) -> None:
    """Measure the length from which each attention variant is faster than dense attention, on a device.

    Times one layer's attention, with and without the projections around it, and compares it with the fastest dense
    form of all runtimes of the target. The graphs are exported here, which needs the host half (see `edgeattn doctor`),
    and timed here or with --host on a device. --out also writes a plot.
    """
    import os

    from edgeattn.devices import usable_threads

    os.environ.setdefault("OMP_NUM_THREADS", str(usable_threads()))  # before torch starts its threads
    from edgeattn.crossover.choice import choose
    from edgeattn.crossover.export import Setting, export
    from edgeattn.hosts import open_host
    from edgeattn.jobs import Measure
    from edgeattn.measure.table import show_crossover, show_crossovers
    from edgeattn.progress import Progress
    from edgeattn.scratch import scratch

    profile = _profile(target, hosts, export_to)
    if out is not None:
        # Before minutes of measuring: finds a missing library, or a folder that cannot be made.
        from edgeattn.crossover.record import record

        if len(hosts) > 1:
            raise InputError("--out takes the results of one host", where="--out", fix="use --json for several")
        out.mkdir(parents=True, exist_ok=True)
    setting = Setting(
        heads=heads,
        head_dim=head_dim,
        lengths=tuple(sorted(set(lengths))),
        variants=choose(variants, options, causal=causal),
        causal=causal,
        key_mask=key_mask,
        batch_size=batch_size,
        threads=threads,
    )
    if export_to is not None:
        _make_empty(export_to)
        graphs = export(setting, profile, export_to, progress=Progress())
        document = graphs.listing.model_dump(mode="json")
        emit(document, as_json, lambda: click.echo(f"run `edgeattn measure {export_to.name}` on the device"))
        return
    with scratch("crossover") as folder:
        export(setting, profile, folder, progress=Progress())
        if len(hosts) > 1:
            emit_outcomes(side_by_side(hosts, wait, Measure(), folder), as_json, show_crossovers)
            return
        document = open_host(hosts[0] if hosts else None, wait=wait).run(Measure(), folder, Progress())
    if out is not None:
        record(document, out)
    emit(document, as_json, lambda: show_crossover(document))


def _profile(target: str, hosts: Sequence[str], export_to: Path | None) -> DeviceProfile:
    """The target with the runtimes that any of the hosts has. Raises DeviceError where one is not the target."""
    from edgeattn.hosts import open_host
    from edgeattn.target import resolve

    # Without facts that a host probes: the same graphs are the same job, which can be taken over.
    profile = resolve(target, None).profile
    if export_to is not None:
        if hosts:
            fact = "--export only writes graphs, so it takes no --host"
            raise InputError(fact, where="--host", fix="leave one of the two out")
        return profile
    found = [resolve(target, open_host(name)).profile.runtimes for name in hosts or (None,)]
    usable = {support.name for each in found for support in each}
    return profile.model_copy(update={"runtimes": tuple(each for each in profile.runtimes if each.name in usable)})


def _make_empty(folder: Path) -> None:
    from edgeattn.store import disk_errors

    with disk_errors(folder.parent, "choose another --export"):
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise InputError(f"{folder} is not empty", where="--export", fix="choose a new folder")
