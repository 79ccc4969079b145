"""docs/models.md, rendered from benchmarks/results/architectures.json."""

from __future__ import annotations

import re
from typing import Any

from benchmarks.record import Row as Figure

Row = dict[str, Any]
COMMAND = ".venv/bin/python -m benchmarks.architectures"
_EXPORT = "export"
_LENGTHS = "at other lengths and batches"


def verdict(row: Row) -> str:
    """What became of a type: not buildable, refused, wrong, converted (equal in all checks), or partly equal."""
    if not row["buildable"]:
        return "not buildable"
    if row["refused"]:
        return "refused"
    results = {check["result"] for name, check in row["checks"].items() if name != _EXPORT}
    if "wrong" in results or row["checks"].get(_EXPORT, {}).get("result") == "wrong":
        return "wrong"
    return "partly" if results & {"error", "refused"} else "equal"


def exported(row: Row) -> bool:
    """Whether its graph is equal in ONNX Runtime, at another length where the model takes any."""
    return bool(row["buildable"] and row["checks"].get(_EXPORT, {}).get("result") == "equal")


def figures(rows: list[Row]) -> list[Figure]:
    """The totals, in the form of the project's other benchmarks."""
    verdicts = [verdict(row) for row in rows]
    refused = [row["refused"] for row in rows if verdict(row) == "refused"]

    def count(metric: str, value: int, goal: str | None = None, holds: bool | None = None) -> Figure:
        return Figure("all", metric, value, "types", goal=goal, holds=holds)

    equal, wrong, unclear = verdicts.count("equal"), verdicts.count("wrong"), sum(not r["clear"] for r in refused)
    graphs = sum(exported(row) for row in rows)
    return [
        count("looked at", len(rows)),
        count("buildable", len(rows) - verdicts.count("not buildable")),
        count("wrong", wrong, "0", wrong == 0),
        count("converted and equal", equal, "at least 200", equal >= 200),
        count("converted, but some input refused", verdicts.count("partly")),
        count("refused", len(refused)),
        count("refused without naming a layer or class", unclear, "0", unclear == 0),
        count("exported and equal in ONNX Runtime", graphs, "at least 150", graphs >= 150),
    ]


def render(document: dict[str, Any]) -> str:
    """The page."""
    rows, facts = document["types"], document["versions"]
    totals = {figure.metric: int(figure.value or 0) for figure in figures(rows)}
    wrong = [row for row in rows if verdict(row) == "wrong"]
    machine = document["machine"]
    lines = [
        "# Models",
        "",
        "Which architectures edgeattn converts, and why it refuses the others. Each type that `transformers.AutoModel` "
        "knows is built tiny, with random weights, and converted with an empty plan. Its outputs are compared with "
        f"those of the model's own eager attention to {document['tolerance']:g}: a batch of three with padding on the "
        "right and on the left, one sample, no mask, bool and integer masks in turn, and packed texts where the model "
        "takes a mask [B, 1, N, N]. A sliding window as wide as the text must equal dense attention, and hedgehog must "
        "train. The exported graph must be equal in ONNX Runtime at another length and batch.",
        "",
        f"transformers {facts['transformers']}, torch {facts['torch']}, onnxruntime {facts['onnxruntime']}, timm "
        f"{facts['timm'] or 'not installed'}; commit {document['commit'][:12]}; {machine['cpu_model']}.",
        *(f"\n{note}" for note in document["notes"][1:]),
        "",
        "```console",
        f"$ {COMMAND}    # all; under an hour on two cores",
        f"$ {COMMAND} --only bert,llama --checks convert",
        "```",
        "",
        "| types | |",
        "| --- | --- |",
        *(f"| {metric} | {value} |" for metric, value in totals.items()),
        "",
        *_wrong(wrong),
        "## Types",
        "",
        "Layers are of the tiny model: `c` causal, `x` cross-attention, `b` with a bias, `w` with a window of its own. "
        "Layers with a bias stay dense, or take a variant that has a place for it; see [attention.md](attention.md).",
        "",
        "| type | class | layers | converts | export | refused, left out or not looked at |",
        "| --- | --- | --- | --- | --- | --- |",
        *(_line(row) for row in sorted(rows, key=lambda row: (row["type"].lower(), row["type"])) if row["buildable"]),
        "",
        "## Not looked at",
        "",
        "No tiny model of these could be built and run from its default config, so nothing is known of them.",
        "",
        "| type | reason |",
        "| --- | --- |",
        *(f"| {row['type']} | {_short(row['reason'])} |" for row in rows if not row["buildable"]),
    ]
    return "\n".join(lines) + "\n"


def _wrong(rows: list[Row]) -> list[str]:
    if not rows:
        return []
    found = [
        f"| {row['type']} | {name} | {check.get('error', '')} | {_short(check.get('detail', ''))} |"
        for row in rows
        for name, check in row["checks"].items()
        if check["result"] == "wrong"
    ]
    return ["## Wrong", "", "| type | check | error | where |", "| --- | --- | --- | --- |", *found, ""]


def _line(row: Row) -> str:
    found = verdict(row)
    reasons = [row["refused"]["reason"]] if row["refused"] else []
    reasons += [f"{part['kind']} stays as it is: {part['reason']}" for part in row["left_out"]]
    reasons += [
        f"{name}: {check['detail']}" for name, check in row["checks"].items() if check["result"] in ("refused", "error")
    ]
    cells = (
        row["type"],
        row["class"],
        _layers(row["layers"]),
        {"equal": "yes", "partly": "in part", "refused": "no", "wrong": "WRONG"}[found],
        _export(row),
        "; ".join(_short(reason) for reason in reasons),
    )
    return f"| {' | '.join(cells)} |"


def _layers(layers: list[Row]) -> str:
    letters = {"causal": "c", "cross": "x", "bias": "b", "window": "w"}
    return ", ".join(
        f"{part['count']} {part['kind']}{_in_brackets(letters[key] for key in letters if part[key])}" for part in layers
    )


def _in_brackets(letters: Any) -> str:
    text = "".join(letters)
    return f" ({text})" if text else ""


def _export(row: Row) -> str:
    check = row["checks"].get(_EXPORT)
    if check is None:
        return "" if row["refused"] else "not run"
    if check["result"] == "equal":
        return "any length" if check["detail"] == _LENGTHS else "yes"
    return {"wrong": "WRONG", "n/a": "not tried"}.get(check["result"], "no")


def _short(text: str) -> str:
    """The first line in 160 characters, safe in a cell of a table; of an absolute path, the name of its file."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    line = re.sub(r"(https?://)?\b[\w-]+(\.[\w-]+)*\.(com|org|net|io|dev|ai|co)\b\S*", "its site", line)
    line = re.sub(r"(?<![\w.])(/[\w.-]+){2,}", lambda found: found[0].rpartition("/")[2], line).replace("](", "] (")
    line = line if len(line) <= 160 else f"{line[:157]}..."
    line = re.sub(r"[\\|*<>\[\]`]", lambda found: f"\\{found[0]}", line)
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\_", line)
