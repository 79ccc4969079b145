"""What work gave on each of several hosts, or for each of several targets: shown together, with the worst exit code."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import click

from edgeattn.cli.console import emit
from edgeattn.errors import DeviceError, EdgeattnError, VerificationError

Table = Callable[[Sequence[tuple[str, Mapping[str, Any]]]], None]


@dataclass
class Outcome:
    """A document, or an error. name: of the host or target. done: set when the work has ended."""

    name: str
    done: threading.Event = field(default_factory=threading.Event)
    document: dict[str, Any] | None = None
    error: EdgeattnError | None = None

    @contextlib.contextmanager
    def caught(self) -> Iterator[None]:
        """Keeps the error of the work inside, so that the others go on."""
        try:
            yield
        except EdgeattnError as error:
            self.error = error
        except Exception as error:  # noqa: BLE001  # else one bug loses what the others gave
            fix = f"run it with {self.name} only"
            self.error = EdgeattnError(f"internal error: {type(error).__name__}: {error}", fix=fix)
        finally:
            self.done.set()


def emit_outcomes(outcomes: Sequence[Outcome], as_json: bool, show: Table | None = None, *, key: str = "host") -> None:
    """One table, or a JSON list; then exit with the highest exit code.

    show: prints the table of the documents; None: that of several hosts' bench or verify. key: what the names are of.
    A document whose "passed" is False counts as a failed verification, an invalid session as a machine that is not fit.
    """

    def human() -> None:
        from edgeattn.report.table import lines, show_hosts

        if found := [(each.name, each.document) for each in outcomes if each.document]:
            (show or show_hosts)(found)
        lines([f"{each.name}: error: {each.error}" for each in outcomes if each.error])

    from edgeattn.bench.conditions import invalid_because

    emit([{key: each.name, **_result(each)} for each in outcomes], as_json, human)
    codes = [each.error.exit_code for each in outcomes if each.error]
    documents = [each.document for each in outcomes if each.document]
    codes += [VerificationError.exit_code for document in documents if not document.get("passed", 1)]
    codes += [DeviceError.exit_code for document in documents if invalid_because(document) is not None]
    if codes:
        raise click.exceptions.Exit(max(codes))


def _result(outcome: Outcome) -> dict[str, Any]:
    if outcome.error is None:
        return {"document": outcome.document}
    error = outcome.error
    return {"error": {"fact": error.fact, "where": error.where, "fix": error.fix, "exit_code": error.exit_code}}
