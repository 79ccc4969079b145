"""`edgeattn history`: what the benches have measured until now, and where it changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeattn.cli.console import common_options, emit

if TYPE_CHECKING:
    from edgeattn.history.changes import Change
    from edgeattn.history.measurement import Measurement
    from edgeattn.history.series import Key, Series

    Points = Mapping[Key, Sequence[Change]]

_HEAD = ("bundle", "engine", "length", "device", "runtime", "method", "protocol", "runs", "latest")
_HEAD_OF_ONE = ("measured", "bundle", "edgeattn", "method")


@click.command("history")
@click.argument("bundle", required=False)
@click.option("--metric", default="p50_ms", show_default=True, help="p50_ms, p90_ms, energy_mj or peak_memory_mb.")
@click.option(
    "--last", type=click.IntRange(1, 10_000), default=20, show_default=True, help="Measurements shown of each."
)
@click.option("--file", type=click.Path(path_type=Path, dir_okay=False), help="Another history than this machine's.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.svg", help="Draw it as SVG.")
@common_options
def command(bundle: str | None, metric: str, last: int, file: Path | None, plot: Path | None, as_json: bool) -> None:
    """List what every `edgeattn bench` has measured, and where it changed for good.

    With BUNDLE, a bundle's folder or name, list its measurements. Every device, power mode, runtime, number of threads
    and protocol is a series of its own. Change points need `pip install 'edgeattn[history]'`.
    """
    from edgeattn.errors import InputError
    from edgeattn.history.changes import available, changes
    from edgeattn.history.file import file_here
    from edgeattn.history.measurement import METRICS
    from edgeattn.history.series import series_of
    from edgeattn.registry import did_you_mean

    if metric not in METRICS:
        raise InputError(f"unknown metric {metric!r}", where="--metric", fix=did_you_mean(metric, METRICS))
    chosen = file or file_here()
    if chosen is None:
        raise InputError("no history is kept: EDGEATTN_HISTORY is off", where="edgeattn history", fix="use --file")
    rows = _rows(chosen, must_exist=file is not None)
    if bundle is not None:
        rows = _of(bundle, rows)
    found, searched = series_of(rows, metric), available()
    points = {series.key: changes(series.values) for series in found} if searched else {}
    if plot is not None:
        _plot(found, points, plot)
    document = {
        "file": str(chosen),
        "metric": metric,
        "change_points": searched,
        "series": [_facts(series, points.get(series.key, ())) for series in found],
    }

    def human() -> None:
        _show(found, points, searched, bundle is not None, last, metric)
        if not rows:
            click.echo(f"nothing is recorded yet in {chosen}; `edgeattn bench` records")

    emit(document, as_json, human)


def _rows(file: Path, *, must_exist: bool) -> list[Measurement]:
    from edgeattn.errors import InputError
    from edgeattn.history.file import read

    if not file.exists():
        if must_exist:
            raise InputError("there is no such file", where=str(file), fix="name a history of edgeattn with --file")
        return []
    return read(file)


def _of(bundle: str, rows: Sequence[Measurement]) -> list[Measurement]:
    """The measurements of a bundle: all that have the name of the bundle in a folder, or this name."""
    from edgeattn.errors import InputError
    from edgeattn.manifest import MANIFEST, read_manifest
    from edgeattn.registry import did_you_mean

    folder = Path(bundle)
    name = read_manifest(folder).name if (folder / MANIFEST).is_file() else bundle
    found = [row for row in rows if row.name == name]
    if not found:
        known = sorted({row.name for row in rows})
        fix = did_you_mean(name, known) if known else "run `edgeattn bench` on it first"
        raise InputError(f"nothing is recorded of a bundle {name!r}", where="edgeattn history", fix=fix)
    return found


def _plot(found: Sequence[Series], points: Points, file: Path) -> None:
    from edgeattn.cli.installed import how_to_install
    from edgeattn.errors import DeviceError, InputError

    if file.suffix != ".svg":
        raise InputError(f"{file.name} does not end in .svg", where="--plot", fix="name a file such as history.svg")
    if not found:
        raise InputError("there is nothing to draw", where="--plot", fix="run `edgeattn bench` first")
    try:
        from edgeattn.history.plot import MOST, draw
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "matplotlib":
            raise
        raise DeviceError(
            "matplotlib is not installed, which draws the plot", where="--plot", fix=how_to_install("history")
        ) from None
    if len(found) > MOST:
        raise InputError(
            f"{len(found)} series are too many for one plot, {MOST} are the most",
            where="--plot",
            fix="name one bundle",
        )
    draw(found, points, file)


def _facts(series: Series, points: Sequence[Change]) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        **asdict(series.key),
        "measurements": [
            {
                "created_utc": row.created_utc,
                "bundle": row.bundle,
                "edgeattn": row.edgeattn,
                "method": row.method,
                "value": value,
            }
            for row, value in zip(series.rows, series.values, strict=True)
        ],
        "change_points": [{**asdict(change), "relative": change.relative} for change in points],
    }


def _show(
    found: Sequence[Series], points: Points, searched: bool, each_measurement: bool, last: int, metric: str
) -> None:
    from edgeattn.cli.installed import how_to_install
    from edgeattn.report.table import lines, show
    from edgeattn.report.text import number

    if each_measurement:
        for series in found:
            key, changed = series.key, {change.index: change for change in points.get(series.key, ())}
            what = f"{metric} ({key.scope})" if key.scope else metric
            lines([f"{key.name}, {key.engine}, {series.cell}: {what}, {key.runtime}, {key.protocol}, {series.machine}"])
            shown = [
                (
                    row.created_utc,
                    row.bundle[:19],
                    row.edgeattn,
                    row.method,
                    number(value),
                    f"{changed[place].relative:+.1%} from here" if place in changed else "",
                )
                for place, (row, value) in enumerate(zip(series.rows, series.values, strict=True))
            ]
            show((*_HEAD_OF_ONE, metric, "change"), shown[-last:])
            lines([""])
    elif found:
        show(
            (*_HEAD, metric, "change"),
            [
                (
                    series.key.name,
                    series.key.engine,
                    series.cell,
                    series.machine,
                    series.key.runtime,
                    series.rows[-1].method,
                    series.key.protocol,
                    str(len(series.rows)),
                    series.rows[-1].created_utc[:10],
                    number(series.values[-1]),
                    _latest(series, points.get(series.key, ())),
                )
                for series in found
            ],
        )
    if found and not searched:
        lines([f"change points are not searched: Apache Otava is not installed; {how_to_install('history')}"])


def _latest(series: Series, points: Sequence[Change]) -> str:
    """The latest change point, such as "+12.0% since 2026-05-01"."""
    if not points:
        return ""
    return f"{points[-1].relative:+.1%} since {series.rows[points[-1].index].created_utc[:10]}"
