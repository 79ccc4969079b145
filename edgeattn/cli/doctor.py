"""`edgeattn doctor`: what is installed, what is missing, and how to get it."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import click

from edgeattn import __version__
from edgeattn.cli.console import common_options, emit
from edgeattn.plaintext import plain

if TYPE_CHECKING:
    from edgeattn.cli.installed import Group

# Extra -> what it brings. The others are runtimes.
_GIVES = {
    None: "the device half: opens, verifies and measures bundles",
    "compile": "the host half: makes bundles from recipes",
    "demo": "the pretrained model of the default recipe",
    "nvml": "the energy meter of NVIDIA's GPUs",
}
_DEVELOPMENT = "dev"  # of edgeattn itself


@click.command("doctor")
@common_options
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Say what this machine has and what it lacks.

    Lists what is installed and whether edgeattn was tested with it, the machine and which device it is, its energy
    meters and the cache. Exits with 0 if the device half is complete, else with 4.
    """
    from edgeattn.cli.installed import groups
    from edgeattn.errors import DeviceError

    found = [group for group in groups() if group.extra != _DEVELOPMENT]
    whole = next(group.whole for group in found if group.extra is None)
    document: dict[str, Any] = {
        "edgeattn": __version__,
        "device_half": whole,
        "parts": [_part(group, whole) for group in found],
        # These need the packages of the device half.
        "device": _device() if whole else None,
        "machine": _machine() if whole else None,
        "meters": _meters() if whole else None,
        "cache": _cache() if whole else None,
    }
    emit(document, as_json, lambda: _print(document))
    if not whole:
        ctx.exit(DeviceError.exit_code)


def _part(group: Group, device_half: bool) -> dict[str, Any]:
    return {
        "extra": group.extra,
        "gives": _GIVES.get(group.extra) or _runtime(group, device_half),
        "whole": group.whole,
        "install": None if group.whole else group.install,
        "packages": [
            {"name": each.name, "installed": each.installed, "tested": each.tested, "status": each.status}
            for each in group.packages
        ],
    }


def _runtime(group: Group, device_half: bool) -> str:
    if device_half:
        from edgeattn.runtimes import RUNTIMES

        for caveat in (RUNTIMES[name].caveat for name in RUNTIMES if RUNTIMES[name].extra == group.extra):
            if caveat:
                return f"a runtime, which runs bundles; {caveat}"
    return "a runtime, which runs bundles"


def _machine() -> dict[str, Any]:
    from edgeattn.devices import machine_facts

    return machine_facts()


def _device() -> dict[str, Any]:
    from edgeattn.cli.machine_lines import device_document
    from edgeattn.devices import machine_here
    from edgeattn.recognition import installed_here

    return device_document(machine_here(), installed_here())


def _meters() -> list[dict[str, Any]]:
    """The meters of the device that this machine is, the most trusted first: the first available one is used."""
    from edgeattn.devices import load_device, machine_here
    from edgeattn.meters import METERS, names_for
    from edgeattn.recognition import device_here

    profile = device_here(machine_here()) or load_device("cpu")
    meters = [METERS[name](profile) for name in names_for(profile)]
    found = [(meter, meter.available()) for meter in meters]
    used = next((meter for meter, why in found if why is None), None)
    return [
        {"name": meter.name, "scope": meter.scope, "available": why is None, "used": meter is used, "reason": why}
        for meter, why in found
    ]


def _cache() -> dict[str, Any]:
    from edgeattn.store import Store

    folder = Store.default_root().absolute()
    existing = next((path for path in (folder, *folder.parents) if os.access(path, os.F_OK)), None)
    return {
        "folder": str(folder),
        "writable": existing is not None and os.access(existing, os.W_OK | os.X_OK),
        "free_bytes": shutil.disk_usage(existing).free if existing else None,
    }


def _print(document: dict[str, Any]) -> None:
    from edgeattn.cli.machine_lines import device_lines

    def line(text: str = "") -> None:
        click.echo(plain(text).rstrip())

    line(f"edgeattn {document['edgeattn']}")
    width = max(len(package["name"]) for part in document["parts"] for package in part["packages"])
    said: set[tuple[str, str]] = set()
    for part in document["parts"]:
        line()
        line(f"{part['extra']}: {part['gives']}" if part["extra"] else part["gives"])
        for package in part["packages"]:
            if (package["name"], package["tested"]) in said:  # listed with a part that this one includes
                continue
            said.add((package["name"], package["tested"]))
            installed, tested = package["installed"] or "-", package["tested"] or "any"
            line(f"  {package['name']:<{width}}  {installed:<12}  {tested:<21}  {package['status']}")
        if part["install"]:
            line(f"  to get it: {part['install']}")
    if document["machine"] is None:
        line()
        line("Facts about this machine need the complete device half.")
        return
    line()
    line("this machine")
    for label, text in device_lines(document["device"]):
        line(f"  {label:<22}  {text}")
    for name, value in document["machine"].items():
        if name in document["device"]:
            continue
        line(f"  {name:<22}  {_shown(name, value)}")
    if document["device"]["not_run"]:
        line()
        line(f"not run by edgeattn's developers on such a device ({document['device']['device']})")
        for text in document["device"]["not_run"]:
            line(f"  - {text}")
    line()
    line("energy meters")
    for meter in document["meters"]:
        line(f"  {meter['name']:<22}  {_meter(meter)}")
    cache = document["cache"]
    line()
    line("cache")
    read_only = "" if cache["writable"] else " (cannot be written to: set EDGEATTN_CACHE to another folder)"
    line(f"  {'folder':<22}  {cache['folder']}{read_only}")
    line(f"  {'free':<22}  {_shown('free_bytes', cache['free_bytes'])}")


def _meter(meter: dict[str, Any]) -> str:
    if not meter["available"]:
        return str(meter["reason"])
    scope = "an estimate" if meter["scope"] == "model" else f"scope {meter['scope']}"
    return f"available, {scope}{', used' if meter['used'] else ''}"


def _shown(name: str, value: Any) -> str:
    if value is None:
        return "none" if name in ("cpu_quota", "memory_limit_bytes") else "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(name, item)}" for key, item in value.items()) or "unknown"
    if isinstance(value, list):
        return " ".join(map(str, value)) or "unknown"
    if name.endswith("_bytes"):
        return f"{value / 2**30:.1f} GiB" if value >= 2**30 else f"{value // 1024} KiB"
    return str(value)
