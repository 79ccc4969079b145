"""How a benchmark writes its results: benchmarks/results/<name>.json and the same rows as <name>.md."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgeattn.devices.probe import machine_facts
from edgeattn.store import write_json

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Row:
    """One figure and its reference. `goal` applies to `ratio`, or to `value` where there is none."""

    case: str
    metric: str
    value: float | None
    unit: str
    reference: str | None = None
    reference_value: float | None = None
    ratio: float | None = None
    goal: str | None = None
    holds: bool | None = None


def run_parts(name: str, parts: Mapping[str, Callable[[], list[Row]]], chosen: Sequence[str], notes: list[str]) -> None:
    """Runs the chosen parts, or all, and records their rows beside those from the other parts' last runs."""
    kept = RESULTS.parent.parent / "build" / f"{name}-parts.json"
    found: dict[str, list[dict[str, Any]]] = json.loads(kept.read_text()) if kept.is_file() else {}
    for part in chosen or parts:
        print(f"-- {part}", flush=True)
        found[part] = [vars(row) for row in parts[part]()]
        for row in found[part]:
            print("  ", {key: value for key, value in row.items() if value is not None}, flush=True)
        kept.parent.mkdir(exist_ok=True)
        kept.write_text(json.dumps(found))
    print(record(name, [Row(**row) for part in parts for row in found.get(part, [])], notes))


def record(name: str, rows: list[Row], notes: list[str], more: Mapping[str, Any] | None = None) -> Path:
    """Writes both files and returns the path of the JSON, which also holds `more`."""
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=RESULTS.parent, capture_output=True, text=True, check=True
    ).stdout.strip()
    machine = machine_facts()
    document: dict[str, Any] = {
        "schema": 1,
        "name": name,
        "commit": commit,
        "machine": machine,
        "notes": notes,
        "rows": [asdict(row) for row in rows],
        **(more or {}),
    }
    RESULTS.mkdir(exist_ok=True)
    write_json(RESULTS / f"{name}.json", document)
    head = ("case", "metric", "value", "unit", "reference", "its value", "ratio", "goal", "holds")
    lines = [
        f"# {name}",
        "",
        f"Commit {commit[:12]}. {machine['cpu_model']}, {machine['cores_usable']} cores, "
        f"{', '.join(machine['instruction_sets'])}, Linux {machine['kernel']}, Python {machine['python']}.",
        *[f"\n{note}" for note in notes],
        "",
        "| " + " | ".join(head) + " |",
        "|" + " --- |" * len(head),
        *["| " + " | ".join(_shown(value) for value in asdict(row).values()) + " |" for row in rows],
    ]
    (RESULTS / f"{name}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return RESULTS / f"{name}.json"


def _shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "NO"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
