"""Numbers and sentences, the same on the terminal and in report.html. Unknown is "n/a", never 0."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from edgeattn.bench.conditions import invalid_because
from edgeattn.bench.crossing import crossing
from edgeattn.bench.scenarios import DEFAULT, SCENARIOS, Scenario
from edgeattn.bench.statistics import FLOORS
from edgeattn.report.energy import notes as energy_notes

NA = "n/a"
Facts = Mapping[str, Any]  # a part of a document


def number(value: float | None, digits: int = 3) -> str:
    """Three significant digits, without an exponent: 0.00741, 12.3, 1005."""
    if value is None:
        return NA
    if value == 0:
        return "0"
    text = f"{value:.{digits}g}"
    return text if "e" not in text else f"{value:.0f}" if abs(value) >= 1 else f"{value:.2e}"


def megabytes(size: int | None) -> str:
    """Bytes as "12.3 MB"."""
    return NA if size is None else f"{number(size / 1e6)} MB"


def energy(engine: Facts) -> str:
    """Gross millijoules with their scope, and net ones where there is an idle baseline; an estimate is marked."""
    if engine["energy_mj"] is None:
        return NA
    scope = "estimate" if engine["energy_scope"] == "model" else engine["energy_scope"]
    net = engine.get("energy_net_mj")
    return f"{number(engine['energy_mj'])} mJ ({scope}{'' if net is None else f', net {number(net)}'})"


def memory(engine: Facts) -> str:
    """Peak memory, with the runtime's arena and the memory on a device where they are known."""
    if engine["peak_memory_mb"] is None:
        return NA
    parts = (("arena", engine.get("arena_mb")), ("device", engine.get("device_memory_mb")))
    known = ", ".join(f"{name} {number(mb)}" for name, mb in parts if mb is not None)
    return f"{number(engine['peak_memory_mb'])} MB{f' ({known})' if known else ''}"


def latency(engine: Facts) -> str:
    """The median, marked when the process never became steady."""
    return number(engine["p50_ms"]) + ("" if engine["steady"] else " *")


def length(cell: Facts) -> str:
    """ "512"; "-" for a model whose inputs have one size."""
    return "-" if cell["length"] is None else str(cell["length"])


def unit(bench: Facts) -> str:
    """What lengths count, such as "tokens": the head of a column of lengths."""
    return bench["unit"] or "length"


def at(bench: Facts, cell: Facts) -> str:
    """ "512 tokens"; empty for a model whose inputs have one size."""
    return "" if cell["length"] is None else f"{cell['length']} {bench['unit'] or 'long'}"


def scenario(bench: Facts) -> type[Scenario]:
    """The scenario of a bench document; one without is of single requests."""
    return SCENARIOS[bench.get("scenario", DEFAULT)]


def scenario_notes(bench: Facts) -> list[str]:
    """What the ratios compare, unless it is the p50; and how to read the scenario's figures."""
    name = bench.get("scenario", DEFAULT)
    compared = [] if name == DEFAULT else [f"scenario {name}: the ratios compare {bench['compares']}"]
    return [*compared, *bench.get("notes", [])]


def others(bench: Facts) -> list[str]:
    """The contestants beside the reference."""
    return [name for name in bench["contestants"] if name != bench["reference"]]


def verdict(speedup: Facts, reference: str = "dense") -> str:
    """Faster, slower, or neither where the interval includes 1."""
    if speedup["ratio"] is None:
        return f"no comparison with {reference}"
    low, high, factor = speedup["low"], speedup["high"], f"{speedup['ratio']:.2f} x"
    between = "no interval from one pair" if low is None else f"{low:.2f} to {high:.2f}"
    if low is not None and low <= 1 <= high:
        return f"no measurable difference from {reference} ({factor}, {between})"
    if speedup["ratio"] > 1:
        return f"{factor} faster than {reference} ({between})"
    return f"{factor}: slower than {reference} ({between})"


def verdicts(bench: Facts) -> list[str]:
    """One sentence per length and contestant."""
    lines = []
    for cell in bench["cells"]:
        for name in others(bench):
            place = [at(bench, cell)] if cell["length"] is not None else []
            place += [name] if len(others(bench)) > 1 else []
            said = verdict(cell["speedups"][name], bench["reference"])
            lines.append(f"{', '.join(place)}: {said}" if place else said)
    return lines


def pays(bench: Facts, name: str) -> str | None:
    """From which length a contestant is faster than the reference; None with fewer than two lengths."""
    speedups = {cell["length"]: cell["speedups"][name] for cell in bench["cells"] if cell["length"] is not None}
    if len(speedups) < 2 or any(speedup["ratio"] is None for speedup in speedups.values()):
        return None
    found, counted = crossing(speedups), bench["unit"] or "long"
    if found.pays_from is None:
        some = [length for length in sorted(speedups) if (speedups[length]["low"] or speedups[length]["ratio"]) > 1]
        if some:
            return f"Pays at {', '.join(map(str, some))} {counted}, not at the longest."
        return "Pays at none of the measured lengths."
    if found.estimate is None:
        return f"Pays from {found.pays_from} {counted}" + (
            ", the shortest measured." if found.pays_from == min(speedups) else "."
        )
    measurably = f", measurably from {found.pays_from}"
    plain = found.pays_from == min(length for length in speedups if length > found.estimate)
    return f"Pays from about {about(found.estimate)} {counted}{'' if plain else measurably}."


def about(value: float) -> int:
    """A length in two significant digits: an interpolated length is no more exact."""
    return int(round(value, 1 - math.floor(math.log10(value))))


def loses(bench: Facts, name: str) -> str | None:
    """The lengths at which a contestant is slower than the reference, the longest left out: its verdict is said."""
    longest = max(cell["length"] or 0 for cell in bench["cells"])
    slower = [
        at(bench, cell)
        for cell in bench["cells"]
        if (cell["length"] or 0) < longest and (_most(cell["speedups"][name]) or 1) < 1
    ]
    return f"Slower than {bench['reference']} at {' and '.join(slower)}." if slower else None


def _most(speedup: Facts) -> float | None:
    """The upper bound of a ratio; the ratio itself where it has no interval."""
    found: float | None = speedup["ratio"] if speedup["high"] is None else speedup["high"]
    return found


def headline(bench: Facts | None, verify: Facts | None) -> str:
    """The speed at the longest length, the lengths from which it pays and at which it loses, and the accuracy."""
    parts = []
    if bench and bench["cells"]:
        cell = max(bench["cells"], key=lambda each: each["length"] or 0)
        place = f"At {at(bench, cell)}: " if cell["length"] else ""
        for name in others(bench):
            who = f"{name}, " if len(others(bench)) > 1 else ""
            parts.append(f"{place}{who}{verdict(cell['speedups'][name], bench['reference'])}.")
            parts += [said for said in (pays(bench, name), loses(bench, name)) if said]
    if verify:
        for name, metric in verify["metrics"].items():
            if metric["floor"] is not None:
                parts.append(f"{name} {number(metric['value'], 4)}, teacher {number(metric['teacher'], 4)}.")
        parts.append("Verified." if verify["passed"] else "VERIFICATION FAILED: " + "; ".join(verify["reasons"]) + ".")
    return " ".join(parts) if parts else "Not measured yet."


def validity(bench: Facts) -> list[str]:
    """What the conditions of the machine did to the session: nothing, discarded pairs, or that it says nothing."""
    if (why := invalid_because(bench)) is not None:
        return [f"INVALID: {why}. These figures mean nothing: see Conditions in docs/benchmarks.md"]
    discarded = (bench.get("conditions") or {}).get("discarded", [])
    return [f"pair {each['pair']} was discarded and taken again: {each['reason']}" for each in discarded]


def footnotes(bench: Facts) -> list[str]:
    """Notes on how to read the numbers: of times, then of energies."""
    notes = [*timing_notes(bench), *energy_notes(bench)]
    if bench["protocol"]["name"] == "quick":
        notes.append("a quick session; `edgeattn bench` without --quick measures for longer")
    return notes


def timing_notes(bench: Facts) -> list[str]:
    """Notes on how to read the times."""
    notes = scenario_notes(bench)
    engines = [engine for cell in bench["cells"] for engine in cell["contestants"].values()]
    speedups = [speedup for cell in bench["cells"] for speedup in cell["speedups"].values()]
    confidences = {speedup["confidence"] for speedup in speedups if speedup["confidence"] is not None}
    if confidences:
        notes.append(
            f"the ranges are intervals of {min(confidences) * 100:.1f} % over {bench['pairs']} pairs of fresh processes"
        )
    if not all(engine["steady"] for engine in engines):
        notes.append("* latency never became steady in the warm-up: another load on this machine, or throttling")
    for key, percent in (("p90_ms", 90), ("p99_ms", 99)):
        if any(engine.get(key) is None for engine in engines):
            notes.append(f"p{percent} is n/a with fewer than {FLOORS[percent]} samples in a process")
    if without := [_without_transfers(cell) for cell in bench["cells"] if _on_a_device(cell)]:
        notes.append(f"without transfers to and from the GPU, {'; '.join(without)}; its memory is not in the table")
    return notes


def _on_a_device(cell: Facts) -> bool:
    return any(engine.get("p50_without_transfers_ms") is not None for engine in cell["contestants"].values())


def _without_transfers(cell: Facts) -> str:
    """Such as "at 128: dense 1.2 ms, efficient 0.8 ms"."""
    each = {name: engine.get("p50_without_transfers_ms") for name, engine in cell["contestants"].items()}
    shown = ", ".join(f"{name} {number(ms)} ms" for name, ms in each.items() if ms is not None)
    return shown if cell["length"] is None else f"at {length(cell)}: {shown}"
