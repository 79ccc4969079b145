"""`edgeattn devices`: list and show device profiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edgeattn.cli.console import Group, common_options, emit, list_described
from edgeattn.plaintext import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from edgeattn.devices import CpuFacts, DeviceProfile, EnergySource, Peaks, PowerMode, Release


@click.group("devices", cls=Group, invoke_without_command=True)
@common_options
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """List the devices that have a profile, and say which of them this machine is; show one."""
    if ctx.invoked_subcommand is not None:
        return
    from edgeattn.cli.machine_lines import device_document, device_lines
    from edgeattn.devices import device_names, load_device, machine_here
    from edgeattn.recognition import installed_here

    here = device_document(machine_here(), installed_here())
    rows = [
        {"name": name, "description": load_device(name).description, "here": name in ("cpu", here["device"])}
        for name in device_names()
    ]

    def human() -> None:
        list_described(rows)
        click.echo("\nthis machine")
        for label, text in device_lines(here):
            click.echo(plain(f"  {label:<10}  {text}"))

    emit(rows, as_json, human)


@command.command("show", short_help="Print the profile of a device.")
@click.argument("name")
@common_options
def show(name: str, as_json: bool) -> None:
    """Print the profile of the device NAME, with `extends:` resolved; for cpu, with facts about this machine.

    Also takes the path of a profile, such as ./board.yaml.
    """
    from edgeattn.devices import load_device
    from edgeattn.report.table import show as table

    profile = load_device(name)

    def human() -> None:
        for label, text in _lines(profile):
            click.echo(plain(f"{label:<17} {text}"))
        if profile.power_modes:
            click.echo("\npower modes")
            table(_MODE, [_mode(mode) for mode in profile.power_modes])
        if profile.software:
            click.echo("\nreleases")
            table(_RELEASE, [_release(release) for release in profile.software])
        for title, texts in (
            ("not run by edgeattn's developers on such a device", profile.not_run),
            ("notes", [f"{note.text} [{note.source}]" for note in profile.notes]),
        ):
            if texts:
                click.echo(f"\n{title}")
            for text in texts:
                click.echo(plain(f"- {text}"))

    emit(profile.model_dump(mode="json"), as_json, human)


def _lines(profile: DeviceProfile) -> Iterator[tuple[str, str]]:
    yield "name", profile.name
    yield "description", profile.description
    for runtime in profile.runtimes:
        version = f" >={runtime.min_version}" if runtime.min_version else ""
        low, high = runtime.opset
        yield "runtime", f"{runtime.name}{version}, opset {low} to {high}: {', '.join(runtime.methods)}"
    if profile.architecture:
        yield "architecture", profile.architecture
    if profile.modules:
        yield "module", " or ".join(profile.modules)
    memory = f"{profile.memory_bytes / 2**30:.1f} GiB" if profile.memory_bytes else "unknown"
    bandwidth = f", {profile.bandwidth_gb_per_s:g} GB/s" if profile.bandwidth_gb_per_s else ""
    yield "memory", memory + bandwidth
    if profile.cpu:
        yield from _cpu_lines(profile.cpu)
    if gpu := profile.gpu:
        yield (
            "gpu",
            _joined(
                f"compute capability {gpu.sm or 'unknown'}",
                gpu.multiprocessors and f"{gpu.multiprocessors} multiprocessors",
                gpu.max_mhz and f"up to {gpu.max_mhz} MHz",
            ),
        )
    if peaks := _peaks(profile.peaks):
        yield "dense peaks", f"{peaks} x 10^12 operations a second"
    yield from _energy_lines(profile.energy)


def _cpu_lines(cpu: CpuFacts) -> Iterator[tuple[str, str]]:
    yield "cpu", cpu.model or "unknown"
    yield "cores, threads", f"{cpu.cores or 'unknown'}, {cpu.threads or 'unknown'}"
    yield "highest clock", f"{cpu.max_mhz} MHz" if cpu.max_mhz else "unknown"
    yield "instruction sets", " ".join(cpu.instruction_sets) or "unknown"
    caches = (f"{name} {size // 1024} KiB" for name, size in cpu.caches_bytes.items())
    yield "caches", ", ".join(caches) or "unknown"


def _energy_lines(energy: EnergySource) -> Iterator[tuple[str, str]]:
    from edgeattn.meters import METERS
    from edgeattn.registry import did_you_mean

    absent = "" if energy.kind in ("none", *METERS) else f", which is no meter: {did_you_mean(energy.kind, [*METERS])}"
    total = f", total {' + '.join(energy.total)}" if energy.total else ""
    scope = f", scope {energy.scope}" if energy.scope else ""
    yield "energy", f"{energy.kind}{total}{scope}{absent}"
    for label, feeds in energy.rails.items():
        yield "  rail", f"{label}: {feeds}"
    if model := energy.power_model:
        yield "  estimate", f"{model.watts_per_core:g} W per busy core ({model.source})"


_MODE = ("mode", "named for", "GPU", "CPU", "memory", "dense peaks, 10^12/s")
_RELEASE = ("release", "L4T", "TensorRT", "CUDA", "Python", "opset", "unconfirmed", "source")


def _mode(mode: PowerMode) -> Sequence[str]:
    return (
        f"{mode.name} (default)" if mode.default else mode.name,
        f"{mode.watts:g} W" if mode.watts else "-",
        _size(mode.multiprocessors, "SM", mode.gpu_mhz),
        _size(mode.cpu_cores, "cores", mode.cpu_mhz),
        f"{mode.bandwidth_gb_per_s:g} GB/s" if mode.bandwidth_gb_per_s else "-",
        _peaks(mode.peaks) or "-",
    )


def _release(release: Release) -> Sequence[str]:
    return (
        release.name,
        release.l4t_range or "-",
        release.tensorrt,
        release.cuda or "-",
        release.python or "-",
        f"{release.opset[0]} to {release.opset[1]}",
        ", ".join(release.unconfirmed) or "-",
        release.source or "-",
    )


def _size(count: int | None, unit: str, mhz: int | None) -> str:
    return _joined(count and f"{count} {unit}", mhz and f"{mhz} MHz", between=" at ") or "-"


def _peaks(peaks: Peaks) -> str:
    known: Iterable[tuple[str, float]] = peaks.model_dump(exclude_none=True).items()
    return ", ".join(f"{kind} {rate:.3g}" for kind, rate in known)


def _joined(*parts: str | int | None, between: str = ", ") -> str:
    return between.join(str(part) for part in parts if part)
