"""`--host` of the commands that are jobs: one host, or several side by side."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edgeattn.cli.console import emit
from edgeattn.errors import EdgeattnError, InputError

if TYPE_CHECKING:
    from edgeattn.hosts.base import Host
    from edgeattn.jobs import DeviceJob

F = TypeVar("F", bound=Callable[..., Any])
Table = Callable[[Sequence[tuple[str, Mapping[str, Any]]]], None]
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


@dataclass
class Outcome:
    """What a job gave on one host: a document, or an error. done: set when it has ended."""

    host: str
    done: threading.Event = field(default_factory=threading.Event)
    document: dict[str, Any] | None = None
    error: EdgeattnError | None = None


def side_by_side(hosts: Sequence[str], wait: bool, job: DeviceJob, bundle: Path) -> list[Outcome]:
    """What the job gives on each of several hosts, at the same time. Ctrl-C ends it on all of them."""
    from edgeattn.hosts import open_host
    from edgeattn.progress import Progress

    opened = [open_host(text, wait=wait, record=False) for text in hosts]
    return at_once(opened, lambda host: host.run(job, bundle, Progress(bars=False)))


def at_once(hosts: Sequence[Host], work: Callable[[Host], dict[str, Any]]) -> list[Outcome]:
    """What `work` gives for each host, all at the same time. Ctrl-C ends it on all of them."""
    from edgeattn.hosts import LOCAL

    names = [host.name for host in hosts]
    if len(set(names)) < len(names):
        raise InputError(f"--host names {max(names, key=names.count)} twice", fix="name each host once")
    outcomes = [Outcome(name) for name in names]
    try:
        for host, outcome in zip(hosts, outcomes, strict=True):
            threading.Thread(target=_run, args=(host, work, outcome), daemon=True).start()
        for outcome in outcomes:
            outcome.done.wait()  # not Thread.join, after whose interruption a thread counts as ended
    except KeyboardInterrupt:
        for host in hosts:
            host.cancel()
        for outcome in outcomes:
            if outcome.host != LOCAL:  # ends with this process
                outcome.done.wait(_STOP_S)
        raise
    return outcomes


def emit_outcomes(outcomes: Sequence[Outcome], as_json: bool, show: Table | None = None) -> None:
    """One table, or a JSON list; then exit with the highest exit code.

    show: prints the table of the hosts' documents; None: that of bench or verify.
    A document whose "passed" is False counts as a failed verification.
    """
    from edgeattn.errors import VerificationError

    def human() -> None:
        from edgeattn.report.table import lines, show_hosts

        if found := [(each.host, each.document) for each in outcomes if each.document]:
            (show or show_hosts)(found)
        lines([f"{each.host}: error: {each.error}" for each in outcomes if each.error])

    emit([_document(each) for each in outcomes], as_json, human)
    codes = [each.error.exit_code for each in outcomes if each.error]
    codes += [VerificationError.exit_code for each in outcomes if each.document and not each.document.get("passed", 1)]
    if codes:
        raise click.exceptions.Exit(max(codes))


def _document(outcome: Outcome) -> dict[str, Any]:
    if outcome.error is None:
        return {"host": outcome.host, "document": outcome.document}
    error = outcome.error
    facts = {"fact": error.fact, "where": error.where, "fix": error.fix, "exit_code": error.exit_code}
    return {"host": outcome.host, "error": facts}


def _run(host: Host, work: Callable[[Host], dict[str, Any]], outcome: Outcome) -> None:
    try:
        outcome.document = work(host)
    except EdgeattnError as error:
        outcome.error = error
    except KeyboardInterrupt:  # cancelled: the main thread says so
        pass
    except Exception as error:  # noqa: BLE001  # else a thread's error is lost
        outcome.error = EdgeattnError(
            f"internal error: {type(error).__name__}: {error}", fix="run it with this host only"
        )
    finally:
        outcome.done.set()
