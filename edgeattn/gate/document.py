"""gate.json: the verdict, and every figure that it rests on. docs/gate.md explains each field."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from edgeattn.devices.profile import Name
from edgeattn.errors import DeviceError, InconclusiveError, VerificationError
from edgeattn.manifest import Digest
from edgeattn.validation import Many, Part

SCHEMA_VERSION = 1
Word = Literal["PASS", "FAIL", "INCONCLUSIVE"]
EXIT_CODES: dict[str, int] = {
    "PASS": 0,
    "FAIL": VerificationError.exit_code,
    "INCONCLUSIVE": InconclusiveError.exit_code,
}


class FindingRow(Part):
    """What one run found: see `edgeattn.gate.rule.Finding`. ratios: candidate / baseline of each pair."""

    verdict: Word | None
    ratio: float
    low: float | None
    high: float | None
    pairs: int
    alpha: float
    ratios: Many[float]


class Row(Part):
    """A metric in a cell.

    length: along the length axis, None where it has none. kind: how it is judged. blocking: whether it decides.
    verdict: None where it is recorded and not judged. scope: what an energy covers, such as "module". ratio, low, high:
    of candidate / baseline. limit: that the candidate's value must keep. minimum_detectable: see
    `edgeattn.gate.rule.Finding`. noise: its largest source.
    """

    metric: str
    length: int | None = None
    kind: Literal["paired", "exact", "accuracy", "outputs", "new", "vanished"]
    blocking: bool
    verdict: Word | None
    unit: str | None = None
    scope: str | None = None
    candidate: float | None = None
    baseline: float | None = None
    limit: float | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    pairs: int | None = None
    minimum_detectable: float | None = None
    noise: str | None = None
    runs: Many[FindingRow] = ()
    why: str | None = None


class Side(Part):
    """A bundle of the two. saved: the content of baseline.json, where there is one."""

    name: str
    path: str
    bundle: Digest
    method: Name
    runtime: Name
    saved: dict[str, Any] | None = None


class Document(Part):
    """gate.json.

    notes: what a reader should know, such as that both bundles are the same. discarded: why pairs were. conditions:
    of the machine, as in bench.json; None from an older edgeattn. injected: the share of extra work in the candidate.
    calibration: what this machine's calibration says, None without one.
    """

    schema_version: Literal[1] = Field(default=1, alias="schema")
    created_utc: str
    edgeattn: str
    verdict: Word
    exit_code: int
    device: str
    unit: str | None
    machine: dict[str, Any]
    candidate: Side
    baseline: Side
    rule: dict[str, Any]
    protocol: dict[str, Any]
    threads: int
    seconds: float
    injected: float
    rows: Many[Row]
    discarded: Many[str]
    conditions: dict[str, Any] | None = None
    notes: Many[str]
    calibration: dict[str, Any] | None
    reproduce: str

    def seen_from(self, candidate: str, baseline: str, arguments: Sequence[str]) -> Document:
        """The document of another machine, with the paths and the command line of this one."""
        return self.model_copy(
            update={
                "candidate": self.candidate.model_copy(update={"path": candidate}),
                "baseline": self.baseline.model_copy(update={"path": baseline}),
                "reproduce": command_line(candidate, baseline, arguments),
            }
        )

    @model_validator(mode="after")
    def _exit_code_of_the_verdict(self) -> Document:
        if (self.verdict, self.exit_code) != (verdict_of(self.rows), EXIT_CODES[self.verdict]):
            raise ValueError("verdict and exit_code do not follow from the rows")
        return self


def received(document: Any, host: str) -> Document:
    """The document that a job gave on a host. Raises DeviceError where it is none."""
    try:
        # From JSON text, because strict validation takes lists for tuples only there.
        return Document.model_validate_json(json.dumps(document))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise DeviceError(
            f"the answer is not the document of a gate: {'.'.join(map(str, first['loc']))}: {first['msg']}",
            where=host,
            fix="run it again; if it happens each time, do not trust the device",
        ) from error


def command_line(candidate: str, baseline: str, arguments: Sequence[str]) -> str:
    """The command that runs a gate again."""
    return shlex.join(["edgeattn", "gate", candidate, "--baseline", baseline, *arguments])


def verdict_of(rows: tuple[Row, ...]) -> Word:
    """The verdict of the whole: of the blocking rows, a failure comes before what is inconclusive."""
    found = {row.verdict for row in rows if row.blocking}
    return "FAIL" if "FAIL" in found else "INCONCLUSIVE" if "INCONCLUSIVE" in found else "PASS"
