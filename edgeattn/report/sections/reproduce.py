"""How to reproduce it: commands that work, and the recipe."""

from __future__ import annotations

import json
import shlex

from edgeattn.report.blocks import Block, Code, Folded, Section, Text
from edgeattn.report.evidence import Document, Evidence
from edgeattn.report.subject import Subject

_PLACES = "BUNDLE is the bundle's folder; RECIPE is the recipe below, saved as a file."


def section(subject: Subject) -> Section:
    if bench := subject.together.get("bench"):
        names = " ".join(shlex.quote(str(name)) for name in bench["contestants"])
        blocks: list[Block] = [Code(f"{_bench(bench, names)} --out DIR")]
    else:
        blocks = [Text(_PLACES)]
        for evidence in subject.bundles:
            blocks += [*([Text(f"{evidence.label}:")] if subject.several else []), Code("\n".join(_commands(evidence)))]
    blocks += [
        Folded(
            subject.headed(evidence, "The recipe, with all defaults"),
            [Code(json.dumps(evidence.manifest.recipe, indent=1, sort_keys=True))],
        )
        for evidence in subject.bundles
    ]
    return Section("reproduce", "How to reproduce it", blocks)


def _commands(evidence: Evidence) -> list[str]:
    commands = [*([] if evidence.manifest.engines else ["edgeattn build BUNDLE"]), "edgeattn verify BUNDLE"]
    if bench := evidence.get("bench"):
        commands.append(_bench(bench, "BUNDLE"))
    target = shlex.quote(str(evidence.manifest.target.get("name")))
    return [*commands, "edgeattn report BUNDLE", f"edgeattn compile RECIPE --target {target} --out BUNDLE"]


def _bench(bench: Document, bundles: str) -> str:
    lengths = ",".join(str(cell["length"]) for cell in bench["cells"] if cell["length"])
    options = [f"--lengths {lengths}"] if lengths else []
    options += [f"--pairs {bench['pairs']}", f"--threads {bench['threads']}"]
    options += ["--quick"] if bench["protocol"]["name"] == "quick" else []
    return " ".join(["edgeattn bench", bundles, *options])
