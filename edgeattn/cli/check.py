"""`edgeattn check`: whether a device's parsers take a graph."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeattn.cli.console import common_options, emit
from edgeattn.errors import InputError, VerificationError

if TYPE_CHECKING:
    from edgeattn.devices import DeviceProfile

_LENGTH = 128
Runtimes = tuple[str, ...] | None  # None: all of the target's


@click.command("check")
@click.argument("graph", type=click.Path(path_type=Path))
@click.option(
    "--target",
    metavar="NAME",
    help="A device that `edgeattn devices` lists, or the path of a profile. A bundle's own by default.",
)
@click.option(
    "--build", is_flag=True, help="Also parse and build it by TensorRT for RTX (edgeattn[rtx]), without a GPU."
)
@click.option(
    "--length",
    type=click.IntRange(1, 1_000_000),
    default=_LENGTH,
    show_default=True,
    metavar="N",
    help="With --build: the size of a free axis, other than the batch.",
)
@common_options
def command(graph: Path, target: str | None, build: bool, length: int, as_json: bool) -> None:
    """Say whether the parser of each release of the target takes GRAPH: any ONNX file, or the candidates of a bundle.

    Each finding names the node, the rule, the releases and the remedy. Exits with 0 without errors, with 1 where a
    release does not take it, with 2 for a file that is not a sound ONNX graph. It needs the host half: see `edgeattn
    doctor`.
    """
    profile, graphs, shared = _graphs(graph, target)
    document = _checked(graph, profile, graphs, shared=shared, build=build, length=length)
    emit(document, as_json, lambda: _print(document))
    if not document["passed"]:
        if as_json:
            raise click.exceptions.Exit(VerificationError.exit_code)  # the document on stdout says why
        raise VerificationError("not every release takes it", where=str(graph), fix="follow the remedies above")


def _graphs(path: Path, target: str | None) -> tuple[DeviceProfile, dict[str, tuple[Path, Runtimes]], bool]:
    """The device, the graphs by name with the runtimes that each is for, and whether they share weights."""
    from edgeattn.bundle import Bundle
    from edgeattn.devices import load_device
    from edgeattn.devices.load import UNKNOWN
    from edgeattn.manifest import SIDES
    from edgeattn.recognition import profile_of

    named = load_device(target, probed=UNKNOWN) if target else None
    if not path.is_dir():
        if named is None:
            raise InputError("no device is named", where="--target", fix="name one that `edgeattn devices` lists")
        return named, {path.name: (path, None)}, False
    bundle = Bundle.open(path)
    manifest = bundle.manifest
    graphs: dict[str, tuple[Path, Runtimes]] = {
        each.name: (path / each.folder / each.graph, each.runtimes) for each in manifest.candidates
    } or {side: (path / each.graph, (each.runtime,)) for side in SIDES if (each := manifest.engines.get(side))}
    return named or profile_of(bundle), graphs, True


def _checked(
    path: Path,
    profile: DeviceProfile,
    graphs: dict[str, tuple[Path, Runtimes]],
    *,
    shared: bool,
    build: bool,
    length: int,
) -> dict[str, Any]:
    from edgeattn.check import preflight
    from edgeattn.check.run import Checker

    reports: dict[str, dict[str, Any]] = {}
    built: dict[str, dict[str, Any] | None] = {}
    with Checker(profile) as checker:
        for name, (file, runtimes) in graphs.items():
            report = checker.check(file, runtimes=runtimes, shared=shared)
            reports[name], built[name] = report.model_dump(mode="json"), None
            if build and (runtimes is None or set(preflight.FAMILY) & set(runtimes)):
                made = preflight.fly({name: file}, profile, preflight.shapes_in(file, length))
                built[name] = made[name].model_dump(mode="json")
    candidates = [{"name": name, **report, "preflight": built[name]} for name, report in reports.items()]
    passed = all(release["passed"] for each in candidates for release in each["releases"])
    return {
        "checked": str(path),
        "target": profile.name,
        "passed": passed and all(each["passed"] for each in built.values() if each),
        "preflight": {"tensorrt_rtx": preflight.version() if build else None},
        "candidates": candidates,
        "left_out": [],
    }


def _print(document: dict[str, Any]) -> None:
    from edgeattn.report import check
    from edgeattn.report.table import lines, show

    for each in document["candidates"]:
        head, rows = check.finding_rows(each["findings"], each["releases"])
        if rows:
            lines([f"{each['name']}:"])
            show(head, rows)
            lines([""])
    show(*check.grid(document))
    if any(each["preflight"] for each in document["candidates"]):
        lines(check.notes(document))
