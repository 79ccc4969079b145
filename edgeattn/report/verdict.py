"""The head of the page: one or two plain sentences, big figures, and the picture that matters."""

from __future__ import annotations

from collections.abc import Sequence

from edgeattn.bench.conditions import invalid_because
from edgeattn.report import text
from edgeattn.report.blocks import Block, Card, Picture, Table, Text, Verdict
from edgeattn.report.evidence import Document, Evidence
from edgeattn.report.figures import known, positive
from edgeattn.report.sections import accuracy, latency
from edgeattn.report.sections.energy import SCOPES
from edgeattn.report.subject import Session, Subject, machine, same_machine

_NAMES = {"efficient": "the efficient model", "dense": "the best dense one"}
_MACHINES = (
    "They were measured on different machines: their milliseconds, memory and energy do not compare, and no "
    "ratio between them is given."
)
_OTHER = {"bench": "edgeattn bench", "verify": "edgeattn verify"}


def verdict(subject: Subject) -> Verdict:
    """What the page says first."""
    sessions = subject.sessions()
    pictures = latency.pictures(subject, sessions, "verdict") if sessions else []
    notices = [f"{each.label}: {line}" if each.label else line for each in sessions for line in _invalid(each.document)]
    notices += [notice for each in subject.bundles for notice in _stale(subject, each)]
    if not subject.several:
        return _of_one(subject.bundles[0], sessions, pictures, notices)
    labels = [each.label for each in subject.bundles]
    timed = next(iter(subject.together.values()), None)
    if timed is not None:
        title, description = f"{', '.join(labels[1:])} beside {labels[0]}", "The shipped engines, timed in turn."
        single = "bench" in subject.together  # the other scenarios compare other figures than the p50
        said = [_sentence(timed, other) for other in text.others(timed)] if single else text.verdicts(timed)
    else:
        title, description = ", ".join(labels), "Bundles side by side, each against its own dense model."
        said = [_count(subject, sessions), *(_gain(session) for session in sessions)]
    failed = [each for each in subject.bundles if _failed(each)]
    said += [f"VERIFICATION FAILED: {each.label}." for each in failed]
    return Verdict(title, description, said, bool(failed), (), pictures, [_glance(subject), *_apart(subject)], notices)


def _of_one(
    evidence: Evidence, sessions: Sequence[Session], pictures: Sequence[Picture], notices: Sequence[str]
) -> Verdict:
    manifest, bench = evidence.manifest, sessions[0].document if sessions else None
    said = (
        [
            _sentence(bench, text.others(bench)[0]),
            *(line for name in text.others(bench) for line in _lengths(bench, name)),
        ]
        if bench
        else []
    )
    cards = [
        *([_speed(bench)] if bench else []),
        *_accuracy(evidence),
        *([_size(bench), _energy(bench)] if bench else []),
    ]
    if not manifest.engines:
        count = len(manifest.candidates)
        said = [f"Not built yet: {count} candidates for {manifest.target.get('name')}. `edgeattn build BUNDLE` there."]
        cards = []
    said = [*(said or ["Not measured yet."]), *([_accuracy_said(evidence)] if manifest.engines else [])]
    failed = _failed(evidence)
    return Verdict(manifest.name, manifest.description, said, failed, cards, pictures, notices=notices)


def _longest(bench: Document) -> Document:
    found: Document = max(bench["cells"], key=lambda each: each["length"] or 0)
    return found


def _names(bench: Document) -> tuple[str, str]:
    """The reference and the first other contestant."""
    return str(bench["reference"]), text.others(bench)[0]


def _sentence(bench: Document, other: str) -> str:
    """Such as "At 512 tokens the efficient model is 1.44 x faster than the best dense one: 10.5 ms, not 15.1 ms"."""
    reference = str(bench["reference"])
    cell = _longest(bench)
    low, high, ratio = (cell["speedups"][other][each] for each in ("low", "high", "ratio"))
    before, after = (f"{text.number(cell['contestants'][each]['p50_ms'])}\u00a0ms" for each in (reference, other))
    place = f"At {text.at(bench, cell)} " if cell["length"] else ""
    who, beside = _NAMES.get(other, other), _NAMES.get(reference, reference)
    if low is not None and low <= 1 <= high:
        said = f"{who} is as fast as {beside}, as far as can be measured: {after} and {before} per inference."
    elif ratio > 1:
        said = f"{who} is {ratio:.2f} x faster than {beside}: {after} per inference in place of {before}."
    else:
        said = f"{who} is slower than {beside}: {after} per inference in place of {before}."
    return f"{place}{said}" if place or other not in _NAMES else f"{said[0].upper()}{said[1:]}"


def _lengths(bench: Document, name: str) -> list[str]:
    return [said for said in (text.pays(bench, name), text.loses(bench, name)) if said]


def _failed(evidence: Evidence) -> bool:
    verify = evidence.get("verify")
    return verify is not None and not verify["passed"]


def _accuracy_said(evidence: Evidence) -> str:
    verify = evidence.get("verify")
    if verify is None:
        return "Its accuracy is not verified yet."
    if not verify["passed"]:
        return f"VERIFICATION FAILED: {'; '.join(map(str, verify['reasons']))}."
    found = accuracy.shipped_metric(evidence)
    if found is None:
        return "Verified."
    name, metric = found
    value, floor = (text.number(metric[each], 4) for each in ("value", "floor"))
    return f"It keeps the accuracy asked for: {accuracy.readable(name)} {value}, at least {floor} was asked. Verified."


def _speed(bench: Document) -> Card:
    reference, other = _names(bench)
    cell = _longest(bench)
    speedup = cell["speedups"][other]
    ratio, low, high = positive(speedup["ratio"], "ratio"), known(speedup["low"], "low"), known(speedup["high"], "high")
    at = text.at(bench, cell)
    between = "no interval from one pair" if low is None or high is None else f"{low:.2f} to {high:.2f}"
    detail = f"than {reference}{f' at {at}' if at else ''}; {between}"
    if speedup["confidence"] is not None:
        detail += f" with {100 * speedup['confidence']:.0f} % confidence"
    if low is not None and high is not None and low <= 1 <= high:
        return Card("speed", "no difference", f"{ratio:.2f} x, {detail.replace('than', 'beside', 1)}")
    if ratio > 1:
        return Card("speed", f"{ratio:.2f} x faster", detail, good=True)
    return Card("speed", f"{1 / ratio:.2f} x slower", f"than {reference}{f' at {at}' if at else ''}; its ratio is "
                f"{ratio:.2f}, {between}", good=False)  # fmt: skip


def _accuracy(evidence: Evidence) -> list[Card]:
    verify = evidence.get("verify")
    if verify is None:
        return [Card("accuracy", text.NA, "run `edgeattn verify BUNDLE`")]
    found = accuracy.shipped_metric(evidence)
    detail = "golden samples only"
    if found is not None:
        name, metric = found
        values = ", ".join(f"{each} {text.number(metric[each], 4)}" for each in ("floor", "teacher"))
        detail = f"{accuracy.readable(name)} {text.number(metric['value'], 4)}; {values}"
    passed = bool(verify["passed"])
    return [Card("accuracy", "kept" if passed else "not kept", detail, good=passed)]


def _size(bench: Document) -> Card:
    reference, other = _names(bench)
    before, after = (known(bench["contestants"][each]["disk_bytes"], "disk_bytes") for each in (reference, other))
    if before is None or after is None:
        return Card("size on disk", text.NA, "the document does not say")
    detail = f"{text.number(after / 1e6)} MB; {reference} {text.number(before / 1e6)} MB"
    return Card("size on disk", *_change(after / before, "smaller", "larger", detail))


def _energy(bench: Document) -> Card:
    reference, other = _names(bench)
    cell = _longest(bench)
    engines = [cell["contestants"][each] for each in (reference, other)]
    before, after = (known(engine["energy_mj"], "energy_mj") for engine in engines)
    scopes = {engine["energy_scope"] for engine in engines}
    title = "energy of an inference"
    if before is None or after is None or len(scopes) > 1:
        why = next((str(each["energy_unavailable"]) for each in engines if each.get("energy_unavailable")), "")
        return Card(title, text.NA, why or "no meter on this device")
    scope = next(iter(scopes))
    covers = "an estimate from processor time" if scope == "model" else f"gross, {SCOPES.get(str(scope), str(scope))}"
    detail = f"{text.number(after)} mJ; {reference} {text.number(before)} mJ; {covers}"
    return Card(title, *_change(after / before, "less", "more", detail))


def _change(ratio: float, less: str, more: str, detail: str) -> tuple[str, str, bool | None]:
    """Figure, detail, and whether that is good, of after / before; within 1 % is about the same."""
    if abs(ratio - 1) < 0.01:
        return "about the same", detail, None
    if ratio < 0.5:
        return f"{1 / ratio:.1f} x {less}", detail, True
    if ratio > 2:
        return f"{ratio:.1f} x {more}", detail, False
    return f"{100 * abs(1 - ratio):.0f} % {less if ratio < 1 else more}", detail, ratio < 1


# --- several bundles ----------------------------------------------------------------------------------------


def _count(subject: Subject, sessions: Sequence[Session]) -> str:
    """How many are faster than their own dense model, and how many keep their accuracy."""
    if not sessions:
        return "Not measured yet."
    speedups = [_longest(each.document)["speedups"][_names(each.document)[1]] for each in sessions]
    faster = sum((each["ratio"] if each["low"] is None else each["low"]) > 1 for each in speedups)
    verified = [each for each in subject.bundles if each.get("verify") is not None]
    kept = sum(not _failed(each) for each in verified)
    said = f"{faster} of {len(sessions)} are faster than their own dense model at their longest length"
    return f"{said}, and {kept} of {len(verified)} keep the accuracy asked for." if verified else f"{said}."


def _gain(session: Session) -> str:
    bench = session.document
    cell = _longest(bench)
    at = text.at(bench, cell)
    said = text.verdict(
        cell["speedups"][_names(bench)[1]], "its own dense model" if session.label else _names(bench)[0]
    )
    return f"{session.label}{f' at {at}' if at else ''}: {said}."


def _glance(subject: Subject) -> Table:
    """A row per bundle."""
    rows = []
    for place, evidence in enumerate(subject.bundles):
        bench = next(iter(subject.together.values())) if subject.together else evidence.get("bench")
        rows.append([evidence.label, *_row(subject, evidence, bench, place)])
    beside = "its own dense model" if not subject.together else subject.bundles[0].label
    head = ["bundle", "measured on", f"speed beside {beside}", "accuracy", "on disk", "energy of an inference"]
    return Table("at a glance", head, rows)


def _row(subject: Subject, evidence: Evidence, bench: Document | None, place: int) -> list[str]:
    card = _accuracy(evidence)[0]
    kept = card.figure if card.figure == text.NA else f"{card.figure}: {card.detail}"
    if bench is None:
        return ["not measured", text.NA, kept, text.NA, text.NA]
    cell = _longest(bench)
    name = list(bench["contestants"])[place] if subject.together else _names(bench)[1]
    at = text.at(bench, cell)
    speed = "the reference"
    if name != bench["reference"]:
        speed = text.verdict(cell["speedups"][name], "it") + (f", at {at}" if at else "")
    return [
        machine(bench),
        speed,
        kept,
        text.megabytes(bench["contestants"][name]["disk_bytes"]),
        text.energy({**cell["contestants"][name], "energy_net_mj": None}),
    ]


def _apart(subject: Subject) -> list[Block]:
    """What does not compare between the bundles."""
    sessions = subject.sessions()
    said: list[Block] = []
    if not same_machine([each.document for each in sessions]):
        said.append(Text(_MACHINES, bad=True))
    units = {text.unit(each.document) if each.by_length else "inputs of one size" for each in sessions}
    lengths = [{cell["length"] for cell in each.document["cells"]} for each in sessions]
    if len(units) > 1:
        said.append(Text(f"Their inputs are measured in different ways: {', '.join(sorted(units))}."))
    elif len(lengths) > 1 and not set.intersection(*lengths):
        said.append(Text("No length was timed for all of them: see each one's own."))
    return said


def _invalid(bench: Document) -> list[str]:
    """That the figures say nothing, where the machine was disturbed too often."""
    why = invalid_because(bench)
    return [] if why is None else [f"INVALID: {why}. These figures mean nothing: measure again."]


def _stale(subject: Subject, evidence: Evidence) -> list[str]:
    """The evidence that is about an earlier state of the bundle, such as before it was built again."""
    verify, bench = evidence.get("verify"), None if subject.together else evidence.get("bench")
    found = {
        "verify": (verify or {}).get("bundle"),
        "bench": bench and bench["contestants"][bench["reference"]]["bundle"],
    }
    return [
        subject.headed(
            evidence, f"{name}.json is about another bundle, {str(digest)[:19]}: run `{_OTHER[name]} BUNDLE` again."
        )
        for name, digest in found.items()
        if digest and digest != evidence.manifest.digest
    ]
