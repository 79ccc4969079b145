"""The hosts that `edgeattn hosts add` has added: hosts.yaml, and known_hosts with their pinned host keys.

Names, users and addresses come from allow-lists, so that none of them can be read as an option of ssh.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field

from edgeattn.errors import DeviceError, InputError
from edgeattn.registry import did_you_mean
from edgeattn.store import disk_errors, replacing
from edgeattn.validation import Many, Part, validate
from edgeattn.yamlfile import read_yaml

_NAME = r"^[a-z0-9][a-z0-9._-]{0,63}$"
_USER = r"^[A-Za-z_][A-Za-z0-9._-]{0,31}$"
_DEVICE = r"^([A-Za-z0-9][A-Za-z0-9._-]{0,252}|[0-9A-Fa-f:]{2,39}(%[A-Za-z0-9._-]{1,15})?)$"
_ADDRESS = re.compile(r"([^@]*)@(\[[^\]]*\]|[^:\[\]]*)(?::([0-9]{1,5}))?")
_PYTHON = r"^[A-Za-z0-9/][A-Za-z0-9._+/-]{0,499}$"
_PATH = r"^/[A-Za-z0-9._+/@-]{1,500}$"
_OTHER_CONFIG = "set the environment variable EDGEATTN_CONFIG to another folder"

Path_ = Annotated[str, Field(pattern=_PATH)]


class Address(Part):
    """Where a device is: user@device:port."""

    user: Annotated[str, Field(pattern=_USER)]
    device: Annotated[str, Field(pattern=_DEVICE, description="a name, or an address of IPv4 or IPv6")]
    port: Annotated[int, Field(ge=1, le=65535)] = 22

    def __str__(self) -> str:
        device = f"[{self.device}]" if ":" in self.device else self.device
        return f"{self.user}@{device}" + (f":{self.port}" if self.port != 22 else "")


class KnownHost(Part):
    """A host that was added.

    fingerprint: of its host key, which is in known_hosts under `alias`. python: the interpreter that its venv was made
    with. folder: where it keeps its files; None: ~/.cache/edgeattn/hosts. identity: the private key's file, here.
    offline: it reaches no package index. runtimes: the extras of edgeattn that are installed there.
    """

    kind: Literal["ssh"] = "ssh"
    address: Address
    fingerprint: Annotated[str, Field(pattern=r"^SHA256:[A-Za-z0-9+/]{43}$")]
    python: Annotated[str, Field(pattern=_PYTHON)] = "python3"
    folder: Path_ | None = None
    identity: str | None = None
    offline: bool = False
    runtimes: Many[Annotated[str, Field(pattern=_NAME)]] = ()


class HostsFile(Part):
    """hosts.yaml."""

    schema_version: Literal[1] = Field(alias="schema")
    hosts: dict[Annotated[str, Field(pattern=_NAME)], KnownHost] = Field(default_factory=dict)


def config_folder() -> Path:
    """$EDGEATTN_CONFIG, else edgeattn/ in $XDG_CONFIG_HOME, else in ~/.config."""
    if own := os.environ.get("EDGEATTN_CONFIG"):
        return Path(own)
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "edgeattn"


def hosts_file() -> Path:
    return config_folder() / "hosts.yaml"


def known_hosts_file() -> Path:
    """The file of pinned host keys, in the format of ssh."""
    return config_folder() / "known_hosts"


def alias(name: str) -> str:
    """The host's name in known_hosts: its own, so that a key is pinned to the host and not to its address."""
    return f"edgeattn-{name}"


def known_hosts() -> dict[str, KnownHost]:
    """The hosts by name. Raises InputError, with the line, where hosts.yaml has a mistake."""
    file = hosts_file()
    if not file.exists():
        return {}
    document, positions = read_yaml(file)
    return dict(validate(HostsFile, document, positions).hosts)


def find(text: str) -> tuple[str, KnownHost]:
    """The host that `text` names: by its name, or as user@device[:port].

    Raises DeviceError for one that was not added, InputError for text that cannot name one.
    """
    known = known_hosts()
    if "@" in text:
        address = parse_address(text)
        for name, host in known.items():
            if host.address == address:
                return name, host
        raise DeviceError(
            f"{address} was not added yet, so its host key is unknown",
            where="--host",
            fix=f"edgeattn hosts add NAME {address}",
        )
    if text in known:
        return text, known[text]
    check_name(text)
    raise DeviceError(
        f"unknown host {text!r}",
        where="--host",
        fix=f"{did_you_mean(text, list(known))}; " * bool(known) + f"edgeattn hosts add {text} USER@DEVICE",
    )


def check_name(name: str) -> None:
    """Raises InputError for a name that a host cannot have."""
    if not re.fullmatch(_NAME, name) or name in ("local", "none"):
        raise InputError(
            f"{name!r} cannot be the name of a host",
            fix="use small letters, digits, '.', '_' and '-', a letter or digit first; \"local\" is this machine, "
            '"none" no machine',
        )


def check_place(python: str, folder: str | None) -> None:
    """Raises InputError for an interpreter or folder whose name is not plain."""
    if not re.fullmatch(_PYTHON, python):
        fact = f"{python!r} is not the name or path of a Python"
        raise InputError(fact, where="--python", fix="such as python3.11 or /opt/python/bin/python3")
    if folder is not None and (not re.fullmatch(_PATH, folder) or ".." in folder.split("/")):
        raise InputError(f"{folder!r} is not a full, plain path", where="--folder", fix="such as /data/edgeattn")


def parse_address(text: str) -> Address:
    """`user@device[:port]`, an IPv6 address in brackets. Raises InputError for anything else."""
    fix = "write user@device or user@device:port, such as pi@192.168.1.20"
    match = _ADDRESS.fullmatch(text)
    user, device, port = match.groups() if match else ("", "", None)
    device = device.strip("[]")
    if not (re.fullmatch(_USER, user) and re.fullmatch(_DEVICE, device)):
        raise InputError(f"{text!r} is not the address of a device", fix=fix)
    if port is not None and not 1 <= int(port) <= 65535:
        raise InputError(f"{text!r}: a port is a number from 1 to 65535", fix=fix)
    return Address(user=user, device=device, port=int(port or 22))


def save(name: str, host: KnownHost, key: str) -> None:
    """Add or replace a host. key: "TYPE BASE64" of its host key."""
    lines = [line for line in _pinned() if line.split(" ")[0] != alias(name)]
    _write(known_hosts_file(), "".join(f"{line}\n" for line in [*lines, f"{alias(name)} {key}"]))
    _write_hosts({**known_hosts(), name: host})


def forget(name: str) -> None:
    """Remove a host."""
    _write_hosts({other: host for other, host in known_hosts().items() if other != name})
    lines = [line for line in _pinned() if line.split(" ")[0] != alias(name)]
    _write(known_hosts_file(), "".join(f"{line}\n" for line in lines))


def _pinned() -> list[str]:
    file = known_hosts_file()
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


def _write_hosts(hosts: dict[str, KnownHost]) -> None:
    document = HostsFile(schema=1, hosts=hosts).model_dump(mode="json", by_alias=True, exclude_none=True)
    _write(hosts_file(), yaml.safe_dump(document, sort_keys=False))


def _write(file: Path, text: str) -> None:
    with disk_errors(file.parent, _OTHER_CONFIG):
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as temporary:
            temporary.write_text(text, encoding="utf-8")
