"""report.html: one file that needs nothing else, in light and dark, with every text from outside escaped."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from itertools import groupby
from pathlib import Path
from string import Template
from typing import Any

from edgeattn.bundle import Bundle, Manifest
from edgeattn.errors import BundleError
from edgeattn.manifest import PlanEntry
from edgeattn.report import candidates, chart, sensitivity, text
from edgeattn.report import check as checked
from edgeattn.report.page import PAGE
from edgeattn.report.parts import fact_list, paragraph, section, shown, table
from edgeattn.store import disk_errors, replacing, write_json

Document = Mapping[str, Any]
_HOW = (
    "A ratio is the Hodges-Lehmann estimate over pairs of fresh processes, timed in turn, with its exact Wilcoxon "
    "signed-rank interval. Memory is the peak of a process that loads and runs the engine, less the process without it."
)
_NOT_BUILT = "Not built yet: run edgeattn build on the device."
_NOTHING: dict[str, Document | None] = {"verify": None, "bench": None, "build": None, "check": None}
_STAGES = ("untrained", "student")  # in the manifest's training: metric -> value before and after training, in torch


def refresh(bundle: Bundle) -> Path:
    """Write report.html from the bundle's manifest and its evidence. Returns its path."""
    evidence = {name: _read(bundle, f"{name}.json") for name in _NOTHING}
    bundle.record("report.html", render(bundle.manifest, **evidence))
    return bundle.path / "report.html"


def save(bench: Document, bundles: Sequence[Bundle], out: Path) -> Path:
    """Write a bench document of bundles, as bench.json and report.html, into the folder `out`. Returns report.html.

    Raises ResourceError where `out` cannot be written.
    """
    if len(bundles) == 1:
        evidence = {name: _read(bundles[0], f"{name}.json") for name in ("verify", "build", "check")}
        page = render(bundles[0].manifest, **evidence, bench=bench)
    else:
        page = comparison(bench)
    with disk_errors(out, "choose another --out"):
        write_json(out / "bench.json", bench)
        with replacing(out / "report.html") as temporary:
            temporary.write_text(page, encoding="utf-8")
    return out / "report.html"


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
        again = "compile the bundle again" if command == "check" else f"run `edgeattn {command}` on the bundle"
        raise BundleError(fact, where=str(path), fix=again) from error
    return document


def render(
    manifest: Manifest,
    verify: Document | None,
    bench: Document | None,
    build: Document | None = None,
    check: Document | None = None,
) -> str:
    """The page of a bundle as text.

    The student's column comes from the manifest's training["student"]: metric -> value of the trained student in torch.
    """
    sections = [
        section("Dense and efficient, side by side", _bench(bench)),
        section("Accuracy", _accuracy(manifest, verify)),
        section("What was swapped and trained", _plan(manifest.plan) + _training(manifest.training)),
        section("What was built and tried", candidates.tables(build) if build else paragraph(_NOT_BUILT)),
        *([section("What its device's parsers take", checked.markup(check))] if check else []),
        section("Where it was measured", _machine(manifest, verify, bench)),
        section("Provenance", _stale(manifest, verify, bench) + _provenance(manifest)),
        section("How to reproduce it", _again(manifest, bench)),
    ]
    layers = sensitivity.tables(_quantized(manifest, build))
    if layers:
        sections.insert(4, section("What quantizing costs, layer by layer", layers))
    return _page(
        title=manifest.name,
        description=manifest.description,
        headline=text.headline(bench, verify),
        state="failed" if verify and not verify["passed"] else "",
        body="\n".join(sections),
        footer=f"Bundle of {manifest.created_utc}, {manifest.digest}, by edgeattn.",
    )


def _quantized(manifest: Manifest, build: Document | None) -> Mapping[str, Mapping[str, Any]]:
    """The facts of the quantized candidates by name; a built bundle no longer has them in its manifest."""
    found: Mapping[str, Mapping[str, Any]] = (build or {}).get("quantized", {})
    return found or {candidate.name: candidate.facts for candidate in manifest.candidates}


def comparison(bench: Document) -> str:
    """The page of the shipped engines of several bundles."""
    names = list(bench["contestants"])
    sections = [
        section("Side by side", _bench(bench)),
        section("Bundles", fact_list((name, facts["bundle"]) for name, facts in bench["contestants"].items())),
        section("Where it was measured", fact_list(_measured(bench))),
    ]
    return _page(
        title=f"{', '.join(names[1:])} beside {names[0]}",
        description="The shipped engines of several bundles, timed in turn.",
        headline=text.headline(bench, None),
        state="",
        body="\n".join(sections),
        footer=f"Measured {bench['created_utc']}, by edgeattn.",
    )


def _page(*, body: str, **texts: str) -> str:
    return Template(PAGE).substitute(body=body, **{name: escape(said) for name, said in texts.items()})


def _bench(bench: Document | None) -> str:
    if bench is None:
        return paragraph("Not measured yet: run edgeattn bench.")
    cells, contestants, others = bench["cells"], bench["contestants"], text.others(bench)
    head = (
        text.unit(bench),
        *(f"{name} p50 ms" for name in contestants),
        *(f"{name} beside {bench['reference']}" for name in others),
    )
    speeds = [
        (
            text.length(cell),
            *(text.latency(cell["contestants"][name]) for name in contestants),
            *(text.verdict(cell["speedups"][name], bench["reference"]) for name in others),
        )
        for cell in cells
    ]
    tables = table(head, speeds)
    paying = [(name, text.pays(bench, name)) for name in others]
    tables += "".join(paragraph(said if len(others) == 1 else f"{name}: {said}") for name, said in paying if said)
    tables += table(
        (text.unit(bench), "engine", "p90 ms", "memory MB", "energy per inference"),
        [
            (text.length(cell), name, engine["p90_ms"], engine["peak_memory_mb"], text.energy(engine))
            for cell in cells
            for name, engine in cell["contestants"].items()
        ],
    )
    tables += table(
        ("engine", "method", "runtime", "cold start ms", "on disk", "bundle"),
        [
            (
                name,
                facts["method"],
                facts["runtime"].get("runtime"),
                facts["cold_start_ms"],
                text.megabytes(facts["disk_bytes"]),
                facts["bundle"][:19],
            )
            for name, facts in contestants.items()
        ],
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in text.footnotes(bench))
    listed = f"<ul>{notes}</ul>" if notes else ""
    return chart.bars(bench) + tables + listed + paragraph(_HOW)


def _accuracy(manifest: Manifest, verify: Document | None) -> str:
    if verify is None:
        return paragraph("Not verified yet: run edgeattn verify.")
    stages = [manifest.training.get(stage) for stage in _STAGES]
    rows = []
    for name, metric in verify["metrics"].items():
        made = [scores.get(name) if isinstance(scores, Mapping) else None for scores in stages]
        passed = {True: "passed", False: "FAILED", None: "-"}[metric["passed"]]
        floor = "-" if metric["floor"] is None else metric["floor"]
        rows.append((name, metric["teacher"], *made, metric["value"], floor, passed))
    body = table(("metric", "teacher", "untrained", "student", "shipped", "floor", ""), rows)
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
        body += "<h3>Golden samples</h3>" + table(head, golden)
    return body


def _plan(plan: Sequence[PlanEntry]) -> str:
    if not plan:
        return paragraph("Nothing: every layer kept its attention.")

    def what(entry: PlanEntry) -> tuple[str, str]:
        return entry.variant, json.dumps(entry.options, sort_keys=True)

    rows = []
    for (variant, options), entries in groupby(plan, key=what):
        layers = [entry.layer for entry in entries]
        run = len(layers) > 1 and layers == list(range(layers[0], layers[0] + len(layers)))
        span = f"{layers[0]} to {layers[-1]}" if run else shown(layers)
        rows.append((span, variant, shown(json.loads(options))))
    return table(("layers", "new", "options"), rows)


def _training(training: Mapping[str, Any]) -> str:
    return fact_list((name.replace("_", " "), value) for name, value in training.items() if name not in _STAGES)


def _machine(manifest: Manifest, verify: Document | None, bench: Document | None) -> str:
    facts = [("compiled for", manifest.target.get("name"))]
    if bench:
        facts += _measured(bench)
    elif verify:
        facts += [("measured", verify["created_utc"]), *_named(verify["machine"])]
    return fact_list(facts)


def _measured(bench: Document) -> list[tuple[str, Any]]:
    facts = [("measured", bench["created_utc"]), *_named(bench["machine"]), ("engine threads", bench["threads"])]
    for name, contestant in bench["contestants"].items():
        facts.append((f"{name} engine", contestant["runtime"]))
    return [*facts, ("protocol", bench["protocol"])]


def _named(facts: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(key.replace("_", " "), value) for key, value in facts.items()]


def _stale(manifest: Manifest, verify: Document | None, bench: Document | None) -> str:
    """The evidence that is about an earlier state of the bundle, such as before it was built again."""
    found = {"verify": verify and verify.get("bundle"), "bench": bench and _bundle_of(bench)}
    old = [name for name, digest in found.items() if digest and digest != manifest.digest]
    return "".join(
        f"<p class='failed'>{name}.json is about another bundle, {escape(str(found[name]))}: run edgeattn {name} again."
        "</p>\n"
        for name in old
    )


def _bundle_of(bench: Document) -> Any:
    return bench["contestants"][bench["reference"]]["bundle"]


def _provenance(manifest: Manifest) -> str:
    files = [(name, entry.bytes, entry.sha256) for name, entry in sorted(manifest.files.items())]
    files = [entry for entry in files if entry[0] != "report.html"]  # it would have to contain its own digest
    return (
        fact_list([("bundle", manifest.digest), *manifest.provenance.items()])
        + "<h3>Libraries</h3>"
        + fact_list(sorted(manifest.libraries.items()))
        + "<details><summary>Files and digests</summary>"
        + table(("file", "bytes", "digest"), files)
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
