"""`--host` of the commands that are jobs: one host, or several side by side."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edgeattn.cli.outcomes import Outcome
from edgeattn.errors import InputError

if TYPE_CHECKING:
    from edgeattn.hosts.base import Host
    from edgeattn.jobs import DeviceJob

F = TypeVar("F", bound=Callable[..., Any])
_STOP_S = 60.0


def host_options(command: F) -> F:
    """`--host`, handed to the command as `hosts`, and `--wait`."""
    several = click.option(
        "--host",
        "hosts",
        multiple=True,
        metavar="NAME",
        help="Run on this host (see `edgeattn hosts`), or user@device[:port] of one. Given again: side by side, in "
        "one table, and nothing is recorded.",
    )
    return several(click.option("--wait", is_flag=True, help="Wait for a host that is busy.")(command))


def side_by_side(hosts: Sequence[str], wait: bool, job: DeviceJob, bundle: Path) -> list[Outcome]:
    """What the job gives on each of several hosts, at the same time. Ctrl-C ends it on all of them."""
    from edgeattn.hosts import open_host
    from edgeattn.progress import Progress

    opened = [open_host(text, wait=wait, record=False) for text in hosts]
    return at_once(opened, lambda host: host.run(job, bundle, Progress(bars=False)))


def at_once(hosts: Sequence[Host], work: Callable[[Host], dict[str, Any]]) -> list[Outcome]:
    """What `work` gives for each host, all at the same time. Ctrl-C ends it on all of them."""
    from edgeattn.hosts import LOCAL

    require_distinct(hosts)
    outcomes = [Outcome(host.name) for host in hosts]
    try:
        for host, outcome in zip(hosts, outcomes, strict=True):
            threading.Thread(target=_run, args=(host, work, outcome), daemon=True).start()
        for outcome in outcomes:
            outcome.done.wait()  # not Thread.join, after whose interruption a thread counts as ended
    except KeyboardInterrupt:
        for host in hosts:
            host.cancel()
        for outcome in outcomes:
            if outcome.name != LOCAL:  # ends with this process
                outcome.done.wait(_STOP_S)
        raise
    return outcomes


def require_distinct(hosts: Sequence[Host]) -> None:
    """Raise InputError where a host is named twice."""
    names = [host.name for host in hosts]
    if len(set(names)) < len(names):
        raise InputError(f"--host names {max(names, key=names.count)} twice", fix="name each host once")


def _run(host: Host, work: Callable[[Host], dict[str, Any]], outcome: Outcome) -> None:
    with contextlib.suppress(KeyboardInterrupt), outcome.caught():  # cancelled: the main thread says so
        outcome.document = work(host)
