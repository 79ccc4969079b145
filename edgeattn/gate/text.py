"""The figures and sentences of a gate's document, the same on the terminal, in gate.md and in junit.xml."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeattn.gate.document import Document, Row
from edgeattn.report.text import NA, number

HEAD = ("metric", "verdict", "ratio", "bounds", "pairs", "detectable", "candidate", "baseline", "limit")
_SAYS = {
    "PASS": "no blocking metric is worse than the baseline's",
    "FAIL": "the candidate is worse than the baseline",
    "INCONCLUSIVE": "the measurements cannot tell whether the candidate is worse",
}


def headline(document: Document) -> str:
    """The verdict in one sentence, and what decides it."""
    rows = [row for row in document.rows if row.blocking and row.verdict == document.verdict]
    deciding = "" if document.verdict == "PASS" else f": {', '.join(cell(row, document.unit) for row in rows)}"
    return f"{document.verdict}: {_SAYS[document.verdict]}{deciding}"


def cell(row: Row, unit: str | None) -> str:
    """ "p50 at 128 tokens"; "energy (module) at 128 tokens", which says what the joules cover."""
    scope = "estimate" if row.scope == "model" else row.scope
    metric = row.metric if scope is None else f"{row.metric} ({scope})"
    return metric if row.length is None else f"{metric} at {row.length} {unit or 'long'}"


def verdict(row: Row) -> str:
    """Its verdict; "-" for what is recorded and not judged; in brackets where it decides nothing."""
    if row.verdict is None:
        return "-"
    return row.verdict if row.blocking else f"({row.verdict})"


def figures(row: Row, unit: str | None) -> tuple[str, ...]:
    """The row in the columns of HEAD."""
    bounds = NA if row.low is None or row.high is None else f"{row.low:.3f} to {row.high:.3f}"
    paired = row.kind == "paired"
    return (
        cell(row, unit),
        verdict(row),
        f"{row.ratio:.3f}" if row.ratio is not None else "-",
        bounds if paired else "-",
        str(row.pairs) if paired and row.pairs is not None else "-",
        f"{row.minimum_detectable:+.1%}" if row.minimum_detectable is not None else "-",
        value(row.candidate, row.unit),
        value(row.baseline, row.unit),
        value(row.limit, row.unit),
    )


def value(found: float | None, unit: str | None) -> str:
    """A value with its unit."""
    if found is None:
        return "-"
    if unit in ("bytes", "nodes"):
        return f"{found:.0f}" + (" B" if unit == "bytes" else "")
    return f"{number(found, 4)} {unit}" if unit else number(found, 4)


def sentences(document: Document) -> list[str]:
    """Why rows do not pass, and notes."""
    found = []
    for row in document.rows:
        said = row.blocking or row.verdict != "INCONCLUSIVE"  # what is advisory and cannot be told is no news
        if row.why and row.verdict != "PASS" and said:
            advisory = "" if row.blocking or row.verdict is None else " (advisory)"
            found.append(f"{cell(row, document.unit)}{advisory}: {row.why}")
        if row.noise and row.verdict == "INCONCLUSIVE" and row.blocking:
            found.append(f"{cell(row, document.unit)}: the largest source of noise: {row.noise}")
    if document.discarded:
        worst, count = max(document.discarded, key=document.discarded.count), len(document.discarded)
        found.append(f"{count} {'pair was' if count == 1 else 'pairs were'} discarded, such as: {worst}")
    return [*found, *document.notes, calibration(document.calibration, document.rule["catch"])]


def calibration(facts: Mapping[str, Any] | None, catch: float) -> str:
    """What this machine's calibration says of a gate with this `catch`."""
    if facts is None:
        return (
            "this machine is not calibrated: `edgeattn gate BUNDLE --calibrate` measures its false alarms and its power"
        )
    alarms, count = facts["no_change"]["FAIL"], facts["gates"]
    honours = facts["honours"]
    said = f"calibrated {facts['created_utc'][:10]} ({facts['protocol']}): {alarms} of {count} gates of no change fail"
    for each in facts["injected"]:
        said += f", {each['caught'] / count:.1%} of those with {each['share']:.0%} extra work do"
    if honours is None:
        return f"{said}; this machine is too noisy for any catch up to 20 %"
    if honours > catch:
        return f"{said}; this machine can honour a catch of {honours:.0%}, not of {catch:.0%}: expect INCONCLUSIVE"
    return f"{said}; this machine can honour a catch of {honours:.0%}"
