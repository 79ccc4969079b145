"""Hosts: the machines that jobs run on, this one or a device. This file imports nothing heavy: devices run it too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeattn.registry import Registry

if TYPE_CHECKING:
    from edgeattn.hosts.base import Host

LOCAL = "local"
# kind -> class of its hosts
HOSTS: Registry[Any] = Registry(
    "kind of host", {"local": "edgeattn.hosts.local:LocalHost", "ssh": "edgeattn.hosts.ssh.host:SshHost"}
)


def open_host(text: str | None, *, wait: bool = False, record: bool = True) -> Host:
    """The host that `--host` names: this machine when None or "local", else one that `edgeattn hosts add` has added.

    wait: for a device that is busy. record: a job's evidence goes into the bundle; False: only its document is wanted.
    Raises DeviceError for an unknown one.
    """
    if text is None or text == LOCAL:
        local: Host = HOSTS["local"](record=record)
        return local
    from edgeattn.hosts.known import find

    name, known = find(text)
    host: Host = HOSTS[known.kind](name, known, wait=wait, record=record)
    return host
