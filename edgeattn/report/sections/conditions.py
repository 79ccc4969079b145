"""The conditions of the measurement, as figures that a reader can use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeattn.report import text
from edgeattn.report.blocks import Block, Facts, Folded, Notes, Section, Table, Text
from edgeattn.report.evidence import Document
from edgeattn.report.figures import listed, mapping
from edgeattn.report.subject import Session, Subject, machine, same_machine

_UNKNOWN = "n/a: the system does not say"
_SETTINGS = {
    "providers": "runs on",
    "nodes_elsewhere": "operators that run elsewhere",
    "disabled_optimizers": "optimizations turned off",
    "tuned_here": "settings chosen by timing on this machine",
}
_OLD = "n/a: recorded by an earlier version, which did not read it"


def section(subject: Subject) -> Section:
    blocks: list[Block] = []
    sessions = subject.sessions()
    if len(sessions) > 1 and not same_machine([each.document for each in sessions]):
        blocks.append(Text("The machines differ: milliseconds, memory and energy do not compare.", bad=True))
    for session in sessions:
        blocks += _of(session)
    if not sessions:
        targets = ", ".join(dict.fromkeys(str(each.manifest.target.get("name")) for each in subject.bundles))
        blocks.append(Text(f"Compiled for {targets}. Nothing was timed yet."))
        for evidence, verify in subject.documents("verify"):
            blocks.append(Text(subject.headed(evidence, f"Verified on {machine(verify)}.")))
    return Section("conditions", "Where and how it was measured", blocks, ("pair",))


def _of(session: Session) -> list[Block]:
    document = session.document
    facts = mapping(document.get("machine"))
    conditions = document.get("conditions")
    start, end = (mapping(mapping(conditions).get(each)) for each in ("start", "end"))
    pairs = [
        ("measured", _date(document.get("created_utc"))),
        ("machine", machine(document)),
        ("memory", _gigabytes(facts.get("memory_bytes"))),
        ("threads of an engine", str(document["threads"])),
        ("power mode", _first(start.get("power_mode"), facts.get("power_mode"))),
        ("clock governor", _first(start.get("governor"), facts.get("governor"))),
        ("other load at the start", _load(facts.get("load_average"))),
    ]
    label = f"{session.label}: " if session.label else ""
    blocks: list[Block] = [Facts([(f"{label}{name}", said) for name, said in pairs])]
    if invalid := mapping(conditions).get("invalid"):
        blocks.append(Text(f"{label}This session does not count: {invalid}", bad=True))
    if conditions is None:
        blocks.append(Text(f"{label}Clocks, temperatures and discarded pairs: {_OLD}."))
    else:
        blocks.append(_before_and_after(f"{label}Clocks and temperatures", start, end))
        blocks += _discarded(label, document, mapping(conditions))
    return [*blocks, _protocol(label, document)]


def _date(created_utc: object) -> str:
    return str(created_utc).replace("T", " ").replace("+00:00", " UTC")


def _first(*values: object) -> str:
    return str(next((value for value in values if value), _UNKNOWN))


def _gigabytes(size: object) -> str:
    return f"{text.number(size / 1e9)} GB" if isinstance(size, (int, float)) else text.NA


def _load(averages: object) -> str:
    found = listed(averages)
    if not found or not isinstance(found[0], (int, float)):
        return text.NA
    return f"{text.number(float(found[0]), 2)} processes wanted to run, on average over the minute before"


def _before_and_after(title: str, start: Mapping[str, Any], end: Mapping[str, Any]) -> Block:
    both = (start, end)
    rows = [
        [name, *(_clocks(each.get(key)) for each in both)]
        for name, key in (("processor clock, MHz", "cpu_mhz"), ("GPU clock, MHz", "gpu_mhz"))
        if any(each.get(key) for each in both)
    ]
    for key, unit in (("temperatures_c", "degrees C"), ("heat", "so far"), ("over_current", "times so far")):
        found = [mapping(each.get(key)) for each in both]
        for name in dict.fromkeys(name for each in found for name in each):
            limit = mapping(start.get("throttles_at_c")).get(name) if key == "temperatures_c" else None
            slows = f"; slows down at {_clocks(limit)}" if limit is not None else ""
            rows.append([f"{name}, {unit}{slows}", *(_clocks(each.get(name)) for each in found)])
    if not rows:
        return Text(f"{title}: n/a. This machine shows neither clocks nor temperatures, as in a virtual machine.")
    rows.append(["slowed down by", *(_events(each.get("throttled")) for each in both)])
    return Table(title, ["", "at the start", "at the end"], rows, numbers=(1, 2))


def _clocks(value: object) -> str:
    if isinstance(value, (list, tuple)):
        found = [each for each in value if isinstance(each, (int, float))]
        return (
            " to ".join(dict.fromkeys(text.number(each, 4) for each in (min(found), max(found)))) if found else text.NA
        )
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_clocks(each)}" for name, each in value.items()) or text.NA
    return text.number(value, 4) if isinstance(value, (int, float)) else text.NA


def _events(value: object) -> str:
    if value is None:
        return text.NA
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {count}" for name, count in value.items()) or "nothing"
    return ", ".join(map(str, listed(value))) or "nothing"


def _discarded(label: str, document: Document, conditions: Mapping[str, Any]) -> list[Block]:
    found = [mapping(each) for each in listed(conditions.get("discarded"))]
    if not found:
        return [Text(f"{label}No pair was discarded.")]
    reasons = [f"pair {each.get('pair', text.NA)}: {each.get('reason', text.NA)}" for each in found]
    count = "1 pair was" if len(found) == 1 else f"{len(found)} pairs were"
    return [Text(f"{label}{count} discarded, beside the {document['pairs']} that count:"), Notes(reasons)]


def _protocol(label: str, document: Document) -> Folded:
    protocol = mapping(document["protocol"])

    def seconds(key: str) -> str:
        value = protocol.get(key)
        return f"{text.number(value)} s" if isinstance(value, (int, float)) else text.NA

    pairs = [
        ("protocol", f"{protocol.get('name')}, {document['pairs']} pairs"),
        ("warm-up", f"{seconds('warm_min_s')} to {seconds('warm_max_s')}, until its windows agree"),
        ("timed", f"{protocol.get('blocks', text.NA)} blocks of {seconds('block_s')} per process and length"),
        ("inputs", f"{protocol.get('feeds', text.NA)} different ones in turn"),
        *((key.replace("_", " "), str(protocol[key])) for key in ("processes", "cold_start", "memory", "energy")
          if key in protocol),
        ("checked", str(document.get("checked", text.NA))),
    ]  # fmt: skip
    for name in document["contestants"]:
        pairs.append((f"{name} engine", _settings(document["contestants"][name]["runtime"])))
    return Folded(f"{label}How it was measured", [Facts(pairs)])


def _settings(runtime: object) -> str:
    """A runtime's settings in words."""
    facts = mapping(runtime)
    words = [" ".join(str(facts[key]) for key in ("runtime", "runtime_version") if facts.get(key))]
    for key, value in facts.items():
        if key not in ("runtime", "runtime_version") and value not in (None, [], {}, ""):
            words.append(f"{_SETTINGS.get(str(key), str(key).replace('_', ' '))}: {_setting(value)}")
    return "; ".join(word for word in words if word) or text.NA


def _setting(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
