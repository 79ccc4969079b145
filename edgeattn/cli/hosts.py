"""`edgeattn hosts`: the devices that jobs run on."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from edgeattn.cli.console import Group, common_options, emit
from edgeattn.plaintext import plain

if TYPE_CHECKING:
    from edgeattn.hosts.base import HostFacts


@click.group("hosts", cls=Group, invoke_without_command=True)
@common_options
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Add, list, probe and remove the devices that jobs run on.

    `edgeattn verify BUNDLE --host NAME` and `edgeattn bench BUNDLE --host NAME` then run there.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_, as_json=as_json)


@command.command("add", short_help="Add a device that is reached over SSH.")
@click.argument("name")
@click.argument("address", metavar="USER@DEVICE[:PORT]")
@click.option("--python", default="python3", show_default=True, help="Python 3.10 or later on the device.")
@click.option("--offline", is_flag=True, help="Send all packages from here: the device reaches no package index.")
@click.option("--identity", type=click.Path(exists=True, dir_okay=False, resolve_path=True), help="Private key's file.")
@click.option("--fingerprint", metavar="SHA256:...", help="Accept this host key, and no other, without asking.")
@click.option("--folder", help="Folder on the device.  [default: ~/.cache/edgeattn/hosts]")
@click.option("--runtime", "runtimes", multiple=True, help="Runtime to install. May be given again.")
@common_options
def add(
    name: str,
    address: str,
    python: str,
    offline: bool,
    identity: str | None,
    fingerprint: str | None,
    folder: str | None,
    runtimes: tuple[str, ...],
    as_json: bool,
) -> None:
    """Pin the host key of a device, install edgeattn on it, and call it NAME.

    Without --runtime it installs those of any processor, and what drives TensorRT where JetPack has brought that.

    Shows the key's fingerprint and asks whether it is right. Everything on the device goes into one folder of the
    user's, with a Python environment of its own.
    """
    from edgeattn.errors import InputError
    from edgeattn.hosts.known import check_name, check_place, known_hosts, parse_address
    from edgeattn.hosts.ssh.adding import add
    from edgeattn.hosts.ssh.install import Wanted
    from edgeattn.progress import Progress
    from edgeattn.runtimes import RUNTIMES

    check_name(name)
    where = parse_address(address)
    check_place(python, folder)
    if name in known_hosts():
        raise InputError(f"{name} exists already", fix=f"choose another name, or edgeattn hosts remove {name}")
    extras = tuple(RUNTIMES[runtime].extra for runtime in runtimes)
    facts = add(
        name,
        where,
        accept=lambda found: _accept(str(where), found, fingerprint),
        wanted=Wanted(python, offline, extras),
        folder=folder,
        identity=identity,
        progress=Progress(),
    )
    document = {"name": name, "facts": facts.model_dump(mode="json")}
    emit(document, as_json, lambda: _print(name, facts))


@command.command("list", short_help="List the hosts.")
@common_options
def list_(as_json: bool) -> None:
    """List the hosts that were added. Connects to none."""
    from edgeattn.hosts.known import known_hosts

    rows = [
        {"name": name, "address": str(host.address), "fingerprint": host.fingerprint, "runtimes": list(host.runtimes)}
        for name, host in known_hosts().items()
    ]

    def human() -> None:
        if not rows:
            click.echo("no hosts; to add one: edgeattn hosts add NAME USER@DEVICE")
        width = max((len(str(row["name"])) for row in rows), default=0)
        for row in rows:
            click.echo(plain(f"{row['name']:<{width}}  {row['address']}  {' '.join(row['runtimes'])}"))

    emit(rows, as_json, human)


@command.command("probe", short_help="Say what a host has.")
@click.argument("name", required=False)
@common_options
def probe(name: str | None, as_json: bool) -> None:
    """Say what the host NAME has, or this machine: edgeattn, runtimes, processor, memory, free disk."""
    from edgeattn.hosts import open_host

    host = open_host(name)
    facts = host.probe()
    emit(facts.model_dump(mode="json"), as_json, lambda: _print(host.name, facts))


@command.command("remove", short_help="Remove a host.")
@click.argument("name")
@click.option("--keep", is_flag=True, help="Leave what is installed on the device; it need not be reachable.")
@common_options
def remove(name: str, keep: bool, as_json: bool) -> None:
    """Remove everything that edgeattn put on the device of the host NAME, and forget the host."""
    from edgeattn.hosts.known import find, forget
    from edgeattn.hosts.ssh.adding import remove

    name, known = find(name)
    folder = None if keep else remove(name, known)
    forget(name)
    document = {"name": name, "removed": folder}
    said = f"forgot {name}" + (f"; removed {folder} there" if folder else "; the device was left as it is")
    emit(document, as_json, lambda: click.echo(plain(said)))


def _accept(address: str, found: str, expected: str | None) -> None:
    """Raise unless the host key's fingerprint is the expected one, or the user says that it is right."""
    from edgeattn.errors import DeviceError

    how = "on the device, `ssh-keyscan -t ed25519 localhost | ssh-keygen -lf -` shows it"
    if expected is not None:
        if found != expected:
            raise DeviceError(
                f"the host key of {address} is {found}, not {expected}; nothing was sent",
                where="--fingerprint",
                fix=f"another machine may answer at its address; {how}",
            )
        return
    if not sys.stdin.isatty():
        raise DeviceError(
            f"the host key of {address} is {found}, and nobody can be asked whether that is right",
            fix=f"compare it ({how}), then add --fingerprint {found}",
        )
    click.echo(f"The host key of {address} has the fingerprint\n  {found}\nTo compare it: {how}.", err=True)
    click.confirm("Is it right?", abort=True, err=True)


def _print(name: str, facts: HostFacts) -> None:
    from edgeattn.cli.machine_lines import device_document, device_lines
    from edgeattn.devices import CpuFacts, Machine

    cpu = facts.profile.cpu
    machine = Machine(cpu or CpuFacts(), facts.board, facts.architecture)
    memory, free = facts.profile.memory_bytes, facts.free_bytes
    rows: dict[str, Any] = {
        "host": name,
        "edgeattn": facts.edgeattn,
        "python": facts.python,
        "architecture": facts.architecture,
        "processor": (cpu and cpu.model) or "unknown",
        "usable cores": facts.fingerprint.get("usable_cores", "unknown"),
        "memory": f"{memory / 2**30:.1f} GiB" if memory else "unknown",
        "runtimes": ", ".join(f"{runtime} {version}" for runtime, version in facts.runtimes.items()) or "none",
        **dict(device_lines(device_document(machine, facts.runtimes))),
        "free disk": f"{free / 2**30:.1f} GiB" if free is not None else "unknown",
    }
    for label, value in rows.items():
        click.echo(plain(f"{label:<13} {value}"))
