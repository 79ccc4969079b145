"""report.html: one file that needs nothing else. It is written into a bundle, or elsewhere for several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from edgeattn.bundle import Bundle
from edgeattn.report import page
from edgeattn.report.evidence import Document, Evidence, read, shown_or_refused
from edgeattn.report.subject import Subject
from edgeattn.store import disk_errors, replacing, write_json

_UNTIMED = ("check", "build", "verify")


def refresh(bundle: Bundle) -> Path:
    """Write report.html from the bundle's manifest and its evidence. Returns its path.

    Raises BundleError for evidence that cannot be shown, and names it.
    """
    bundle.record("report.html", page.render(Subject([evidence(bundle)])))
    return bundle.path / "report.html"


def save(reports: Mapping[str, Document], bundles: Sequence[Bundle], out: Path) -> Path:
    """Write the documents of a session that timed bundles, and report.html, into the folder `out`. Returns report.html.

    reports: by file name, such as "bench.json". Raises ResourceError where `out` cannot be written.
    """
    documents = {name.removesuffix(".json"): document for name, document in reports.items()}
    if len(bundles) == 1:
        found = evidence(bundles[0])
        # Another session of single requests replaces all that was timed before it, maybe on another machine.
        kept = {name: each for name, each in found.documents.items() if name in _UNTIMED or "bench" not in documents}
        subject = Subject([replace(found, documents={**kept, **documents})])
    else:
        names = list(next(iter(documents.values()))["contestants"])
        subject = Subject([evidence(*each) for each in zip(bundles, names, strict=True)], together=documents)
    with disk_errors(out, "choose another --out"):
        for name, document in reports.items():
            write_json(out / name, document)
    return write(subject, out / "report.html")


def write(subject: Subject, file: Path) -> Path:
    """Write the page of a subject into a file. Raises ResourceError where it cannot be written."""
    with shown_or_refused(file, "run the session again"):
        text = page.render(subject)
    with disk_errors(file.parent, "choose another --out"), replacing(file) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return file


def evidence(bundle: Bundle, label: str | None = None) -> Evidence:
    """A bundle's evidence, each document tried. label: its name when None. Raises BundleError."""
    return read(bundle, label or bundle.manifest.name, lambda found: page.tried(Subject([found])))
