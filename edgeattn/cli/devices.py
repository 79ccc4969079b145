"""`edgeattn devices`: list and show device profiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edgeattn.cli.console import Group, common_options, emit, list_described
from edgeattn.plaintext import plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeattn.devices import DeviceProfile


@click.group("devices", cls=Group, invoke_without_command=True)
@common_options
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """List the devices that have a profile; show one."""
    if ctx.invoked_subcommand is not None:
        return
    from edgeattn.devices import device_names, load_device

    rows = [{"name": name, "description": load_device(name).description} for name in device_names()]

    emit(rows, as_json, lambda: list_described(rows))


@command.command("show", short_help="Print the profile of a device.")
@click.argument("name")
@common_options
def show(name: str, as_json: bool) -> None:
    """Print the profile of the device NAME, with `extends:` resolved; for cpu, with facts about this machine."""
    from edgeattn.devices import load_device

    profile = load_device(name)

    def human() -> None:
        for label, text in _lines(profile):
            click.echo(plain(f"{label:<17} {text}"))

    emit(profile.model_dump(mode="json"), as_json, human)


def _lines(profile: DeviceProfile) -> Iterator[tuple[str, str]]:
    yield "name", profile.name
    yield "description", profile.description
    for runtime in profile.runtimes:
        version = f" >={runtime.min_version}" if runtime.min_version else ""
        low, high = runtime.opset
        yield "runtime", f"{runtime.name}{version}, opset {low} to {high}: {', '.join(runtime.methods)}"
    yield "memory", f"{profile.memory_bytes / 2**30:.1f} GiB" if profile.memory_bytes else "unknown"
    if cpu := profile.cpu:
        yield "cpu", cpu.model or "unknown"
        yield "cores, threads", f"{cpu.cores or 'unknown'}, {cpu.threads or 'unknown'}"
        yield "highest clock", f"{cpu.max_mhz} MHz" if cpu.max_mhz else "unknown"
        yield "instruction sets", " ".join(cpu.instruction_sets) or "unknown"
        caches = (f"{name} {size // 1024} KiB" for name, size in cpu.caches_bytes.items())
        yield "caches", ", ".join(caches) or "unknown"
    yield "energy", profile.energy.kind
    if model := profile.energy.power_model:
        yield "  estimate", f"{model.watts_per_core:g} W per busy core ({model.source})"
    for note in profile.notes:
        yield "note", f"{note.text} [{note.source}]"
