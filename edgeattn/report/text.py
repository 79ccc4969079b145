"""Numbers and sentences, the same on the terminal and in report.html. Unknown is "n/a", never 0."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NA = "n/a"
Cell = Mapping[str, Any]  # a cell of the bench document


def number(value: float | None, digits: int = 3) -> str:
    """Three significant digits, without an exponent: 0.00741, 12.3, 1005."""
    if value is None:
        return NA
    if value == 0:
        return "0"
    text = f"{value:.{digits}g}"
    return text if "e" not in text else f"{value:.0f}" if abs(value) >= 1 else f"{value:.2e}"


def ratio(value: float | None) -> str:
    """A speedup."""
    return NA if value is None else f"{value:.2f} x"


def interval(speedup: Mapping[str, Any]) -> str:
    """ "1.35 to 1.39 (96.9 %)" """
    if speedup["low"] is None:
        return NA
    return f"{speedup['low']:.2f} to {speedup['high']:.2f} ({speedup['confidence'] * 100:.1f} %)"


def within(speedup: Mapping[str, Any]) -> str:
    """The interval of the factor in `verdict`: of the slowdown where that says slower."""
    low, high = speedup["low"], speedup["high"]
    if low is None or speedup["ratio"] > 1 or low <= 1 <= high:
        return interval(speedup)
    return interval({**speedup, "low": 1 / high, "high": 1 / low})


def energy(side: Mapping[str, Any]) -> str:
    """Millijoules with their scope; an estimate is marked as one."""
    if side["energy_mj"] is None:
        return NA
    scope = "estimate" if side["energy_scope"] == "model" else side["energy_scope"]
    return f"{number(side['energy_mj'])} mJ ({scope})"


def latency(side: Mapping[str, Any]) -> str:
    """The median, marked when the process never became steady."""
    return number(side["p50_ms"]) + ("" if side["steady"] else " *")


def length(cell: Cell) -> str:
    """Tokens; "-" for a model without a sequence."""
    return "-" if cell["length"] is None else str(cell["length"])


def verdict(speedup: Mapping[str, Any]) -> str:
    """Faster, slower, or neither where the interval includes 1."""
    low, high, value = speedup["low"], speedup["high"], speedup["ratio"]
    if low is not None and low <= 1 <= high:
        return f"no measurable difference from dense ({ratio(value)})"
    return f"{ratio(value)} faster than dense" if value > 1 else f"{1 / value:.2f} x slower than dense"


def headline(bench: Mapping[str, Any] | None, verify: Mapping[str, Any] | None) -> str:
    """One sentence: the speed at the longest length, and the accuracy beside the teacher's."""
    parts = []
    if bench and bench["cells"]:
        cell = max(bench["cells"], key=lambda each: each["length"] or 0)
        at = f"At {cell['length']} tokens: " if cell["length"] else ""
        around = f", interval {within(cell['speedup'])}" if cell["speedup"]["low"] is not None else ""
        parts.append(f"{at}{verdict(cell['speedup'])}{around}")
    if verify:
        for name, metric in verify["metrics"].items():
            if metric["floor"] is not None:
                parts.append(f"{name} {number(metric['value'], 4)}, teacher {number(metric['teacher'], 4)}")
        parts.append("Verified" if verify["passed"] else "VERIFICATION FAILED: " + "; ".join(verify["reasons"]))
    return ". ".join(parts) + "." if parts else "Not measured yet."


def footnotes(bench: Mapping[str, Any]) -> list[str]:
    """Notes on how to read the numbers."""
    notes = []
    sides = [cell[side] for cell in bench["cells"] for side in ("dense", "efficient")]
    if not all(side["steady"] for side in sides):
        notes.append("* latency never became steady in the warm-up: another load on this machine, or throttling")
    if any(side["p90_ms"] is None for side in sides):
        notes.append("p90 is n/a with fewer than 64 samples in a process")
    if any(side["energy_scope"] == "model" for side in sides):
        notes.append("energy is an estimate from CPU time and the device's power model, not a measurement")
    if bench["protocol"]["name"] == "quick":
        notes.append("a quick session; `edgeattn bench` without --quick measures for longer")
    return notes
