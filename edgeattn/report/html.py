"""report.html: one file that needs nothing else, in light and dark, with every text from outside escaped."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import groupby
from pathlib import Path
from string import Template
from typing import Any

from edgeattn.bundle import Bundle, Manifest
from edgeattn.errors import BundleError
from edgeattn.manifest import PlanEntry
from edgeattn.report import chart, text
from edgeattn.report.page import PAGE

Document = Mapping[str, Any]
_BOTH = ("p90_ms", "cold_start_ms", "peak_memory_mb")
_HOW = (
    "Of two numbers in a cell, the first is for dense. The speedup is the Hodges-Lehmann estimate of the "
    "ratio of medians over pairs of fresh processes, timed in turn, with its exact Wilcoxon signed-rank "
    "interval. Memory is the peak of a process that loads and runs the engine, less the process without it."
)
_DRIFT = ("min_cosine", "max_abs")
_NOTHING: dict[str, Document | None] = {"verify": None, "bench": None}
_STAGES = ("untrained", "student")  # in the manifest's choice: metric -> value before and after training, in torch


def refresh(bundle: Bundle) -> Path:
    """Write report.html from the bundle's manifest, verify.json and bench.json. Returns its path."""
    page = render(bundle.manifest, _read(bundle, "verify.json"), _read(bundle, "bench.json"))
    bundle.record("report.html", page)
    return bundle.path / "report.html"


def _read(bundle: Bundle, name: str) -> Document | None:
    path = bundle.path / name
    if not path.is_file():
        return None
    command = name.removesuffix(".json")
    try:
        document: Document = json.loads(path.read_text(encoding="utf-8"))
        render(bundle.manifest, **{**_NOTHING, command: document})
    except (OSError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        fact = f"cannot be shown: {type(error).__name__}: {error}"
        raise BundleError(fact, where=str(path), fix=f"run `edgeattn {command}` on the bundle") from error
    return document


def render(manifest: Manifest, verify: Document | None, bench: Document | None) -> str:
    """The page as text.

    The student's column comes from the manifest's choice["student"]: metric -> value of the trained student in torch.
    """
    sections = [
        _section("Dense and efficient, side by side", _bench(bench)),
        _section("Accuracy", _accuracy(manifest, verify)),
        _section("What was swapped", _plan(manifest.plan)),
        _section(f"Why {manifest.engines['efficient'].method}", _choice(manifest.choice)),
        _section("Where it was measured", _machine(manifest, verify, bench)),
        _section("Provenance", _provenance(manifest)),
        _section("How to reproduce it", _again(manifest, bench)),
    ]
    return Template(PAGE).substitute(
        title=escape(manifest.name),
        description=escape(manifest.description),
        headline=escape(text.headline(bench, verify)),
        state="failed" if verify and not verify["passed"] else "",
        body="\n".join(sections),
        created=escape(manifest.created_utc),
    )


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>\n{body}</section>"


def _paragraph(sentence: str) -> str:
    return f"<p>{escape(sentence)}</p>\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Cells are escaped here: callers hand over plain text, never markup."""
    lines = ["<div class='wide'><table><thead><tr>", *(f"<th>{escape(str(cell))}</th>" for cell in head)]
    lines.append("</tr></thead><tbody>")
    for row in rows:
        lines.append("<tr>" + "".join(f"<td>{escape(_plain(cell))}</td>" for cell in row) + "</tr>")
    return "".join(lines) + "</tbody></table></div>\n"


def _facts(pairs: Iterable[tuple[str, Any]]) -> str:
    rows = (f"<dt>{escape(str(name))}</dt><dd>{escape(_plain(value))}</dd>" for name, value in pairs)
    return f"<dl>{''.join(rows)}</dl>\n"


def _plain(value: Any) -> str:
    if value is None:
        return text.NA
    if isinstance(value, float):
        return text.number(value, 4)
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_plain, value)) or "-"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items()) or "-"
    return str(value)


def _bench(bench: Document | None) -> str:
    if bench is None:
        return _paragraph("Not measured yet: run edgeattn bench.")
    speeds, costs = [], []
    for cell in bench["cells"]:
        tokens, dense, efficient, speedup = (
            text.length(cell),
            cell["dense"],
            cell["efficient"],
            cell["speedup"],
        )
        ratio = (text.ratio(speedup["ratio"]), text.interval(speedup), speedup["pairs"])
        speeds.append((tokens, text.latency(dense), text.latency(efficient), *ratio))
        both = [f"{_plain(dense[key])} / {_plain(efficient[key])}" for key in _BOTH]
        sizes = " / ".join(text.number(side["disk_bytes"] / 1e6) for side in (dense, efficient))
        costs.append((tokens, *both, sizes, f"{text.energy(dense)} / {text.energy(efficient)}"))
    tables = _table(("tokens", "dense p50 ms", "efficient p50 ms", "speedup", "interval", "pairs"), speeds)
    head = ("tokens", "p90 ms", "cold start ms", "memory MB", "on disk MB", "energy per inference")
    tables += _table(head, costs)
    notes = "".join(f"<li>{escape(note)}</li>" for note in text.footnotes(bench))
    listed = f"<ul>{notes}</ul>" if notes else ""
    return chart.bars(bench["cells"]) + tables + listed + _paragraph(_HOW)


def _accuracy(manifest: Manifest, verify: Document | None) -> str:
    if verify is None:
        return _paragraph("Not verified yet: run edgeattn verify.")
    stages = [manifest.choice.get(stage) for stage in _STAGES]
    rows = []
    for name, metric in verify["metrics"].items():
        made = [scores.get(name) if isinstance(scores, Mapping) else None for scores in stages]
        passed = {True: "passed", False: "FAILED", None: "-"}[metric["passed"]]
        floor = "-" if metric["floor"] is None else metric["floor"]
        rows.append((name, metric["teacher"], *made, metric["value"], floor, passed))
    body = _table(("metric", "teacher", "untrained", "student", "shipped", "floor", ""), rows)
    for reason in verify.get("reasons", []):
        body += f"<p class='failed'>{escape(str(reason))}</p>\n"
    golden = [
        (
            name,
            drift["student"]["min_cosine"],
            drift["student"]["max_abs"],
            (drift["teacher"] or {}).get("min_cosine"),
        )
        for name, drift in verify.get("golden", {}).items()
        if isinstance(drift, Mapping) and "student" in drift
    ]
    if golden:
        head = ("output", "least cosine to the student", "largest difference", "least cosine to the teacher")
        body += "<h3>Golden samples</h3>" + _table(head, golden)
    return body


def _plan(plan: Sequence[PlanEntry]) -> str:
    if not plan:
        return _paragraph("Nothing: every layer kept its attention.")

    def what(entry: PlanEntry) -> tuple[str, str]:
        return entry.variant, json.dumps(entry.options, sort_keys=True)

    rows = []
    for (variant, options), entries in groupby(plan, key=what):
        layers = [entry.layer for entry in entries]
        run = len(layers) > 1 and layers == list(range(layers[0], layers[0] + len(layers)))
        span = f"{layers[0]} to {layers[-1]}" if run else _plain(layers)
        rows.append((span, variant, _plain(json.loads(options))))
    return _table(("layers", "new", "options"), rows)


def _choice(choice: Mapping[str, Any]) -> str:
    """For each engine its sentence "because" and the table of its "candidates"; then the other facts as a list."""
    body = ""
    others = dict(choice)
    for side in ("efficient", "dense"):
        made = others.pop(side, None)
        if isinstance(made, Mapping):
            body += f"<h3>The {side} engine</h3>" + _paragraph(_plain(made.get("because")))
            candidates = made.get("candidates")
            rows = [row for row in candidates if isinstance(row, Mapping)] if isinstance(candidates, list) else []
            head = sorted(dict.fromkeys(key for row in rows for key in row), key=lambda key: key != "name")
            body += _table([key.replace("_", " ") for key in head], [[row.get(key) for key in head] for row in rows])
    return body + _facts((key.replace("_", " "), value) for key, value in others.items() if key not in _STAGES)


def _machine(manifest: Manifest, verify: Document | None, bench: Document | None) -> str:
    facts = {"compiled for": manifest.target.get("name")}
    measured = bench or verify
    if measured is not None:
        facts |= {"measured": measured["created_utc"], **measured["machine"]}
    if bench:
        facts |= {**bench["runtime"].get("efficient", {}), "engine threads": bench["threads"]}
        facts["protocol"] = bench["protocol"]
    return _facts((key.replace("_", " "), value) for key, value in facts.items())


def _provenance(manifest: Manifest) -> str:
    files = [(name, entry.bytes, entry.sha256) for name, entry in sorted(manifest.files.items())]
    files = [entry for entry in files if entry[0] != "report.html"]  # it would have to contain its own digest
    return (
        _facts(manifest.provenance.items())
        + "<h3>Libraries</h3>"
        + _facts(sorted(manifest.libraries.items()))
        + "<details><summary>Files and digests</summary>"
        + _table(("file", "bytes", "digest"), files)
        + "</details>\n"
    )


def _again(manifest: Manifest, bench: Document | None) -> str:
    commands = ["edgeattn verify BUNDLE"]
    if bench:
        lengths = ",".join(str(cell["length"]) for cell in bench["cells"] if cell["length"])
        options = [f"--lengths {lengths}"] if lengths else []
        options += [f"--pairs {bench['pairs']}", f"--threads {bench['threads']}"]
        options += ["--quick"] if bench["protocol"]["name"] == "quick" else []
        commands.append(" ".join(["edgeattn bench BUNDLE", *options]))
    commands.append(f"edgeattn compile RECIPE --target {manifest.target.get('name')} --out BUNDLE")
    recipe = json.dumps(manifest.recipe, indent=1, sort_keys=True)
    return (
        f"<pre>{escape(chr(10).join(commands))}</pre>"
        f"<details><summary>The recipe, resolved</summary><pre>{escape(recipe)}</pre></details>\n"
    )
