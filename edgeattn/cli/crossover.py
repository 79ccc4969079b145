"""`edgeattn crossover`: the length from which each attention variant is faster on this device."""

from __future__ import annotations

from pathlib import Path

import click

from edgeattn.cli.console import common_options, emit, lengths_of

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
    as_json: bool,
) -> None:
    """Measure the length from which each attention variant is faster than dense attention on this device.

    Times one layer's attention, with and without the projections around it, and compares it with the fastest dense
    form of the runtime. --out also writes a plot. It needs the host half: see `edgeattn doctor`.
    """
    import os

    from edgeattn.devices import usable_threads

    os.environ.setdefault("OMP_NUM_THREADS", str(usable_threads()))  # before torch starts its threads
    from edgeattn.crossover.choice import choose
    from edgeattn.crossover.measure import Setting, measure
    from edgeattn.crossover.table import show_crossover
    from edgeattn.hosts import open_host
    from edgeattn.progress import Progress
    from edgeattn.target import resolve

    resolve(target, open_host(None))
    if out is not None:
        # Before minutes of measuring: finds a missing library, or a folder that cannot be made.
        from edgeattn.crossover.record import record

        out.mkdir(parents=True, exist_ok=True)
    chosen = choose(variants, options, causal=causal)
    setting = Setting(
        heads=heads,
        head_dim=head_dim,
        lengths=tuple(sorted(set(lengths))),
        variants=chosen,
        causal=causal,
        key_mask=key_mask,
        batch_size=batch_size,
        threads=threads,
    )
    document = measure(setting, progress=Progress())
    if out is not None:
        record(document, out)
    emit(document, as_json, lambda: show_crossover(document))
