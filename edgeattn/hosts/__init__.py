"""Hosts: the machines that jobs run on, this one or a device."""

from __future__ import annotations

from typing import Any

from edgeattn.errors import DeviceError
from edgeattn.hosts.base import Host, HostFacts
from edgeattn.registry import Registry

__all__ = ["HOSTS", "LOCAL", "Host", "HostFacts", "open_host"]

LOCAL = "local"
# kind -> class of its hosts
HOSTS: Registry[Any] = Registry("host kind", {"local": "edgeattn.hosts.local:LocalHost"})


def open_host(text: str | None) -> Host:
    """The host that `--host` names: this machine when None or "local". Raises DeviceError for an unknown one."""
    if text is None or text == LOCAL:
        local: Host = HOSTS["local"]()
        return local
    raise DeviceError(f"unknown host {text!r}", where="--host", fix="leave --host out to use this machine")
