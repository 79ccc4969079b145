"""report.html: one file that needs nothing else. It is written into a bundle, or elsewhere for several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgeattn.bundle import Bundle
from edgeattn.report import page
from edgeattn.report.evidence import Document, Evidence, read, shown_or_refused
from edgeattn.report.subject import Subject
from edgeattn.store import disk_errors, replacing, write_json


def refresh(bundle: Bundle) -> Path:
    """Write report.html from the bundle's manifest and its evidence. Returns its path.

    Raises BundleError for evidence that cannot be shown, and names it.
    """
    bundle.record("report.html", page.render(Subject([evidence(bundle)])))
    return bundle.path / "report.html"


def save(bench: Document, bundles: Sequence[Bundle], out: Path) -> Path:
    """Write a session that timed bundles, as bench.json and report.html, into the folder `out`. Returns report.html.

    Raises ResourceError where `out` cannot be written.
    """
    labels = list(bench["contestants"]) if len(bundles) > 1 else [None]
    found = [evidence(bundle, label) for bundle, label in zip(bundles, labels, strict=True)]
    if len(found) == 1:
        subject = Subject([replace(found[0], documents={**found[0].documents, "bench": bench})])
    else:
        subject = Subject(found, together=bench)
    with disk_errors(out, "choose another --out"):
        write_json(out / "bench.json", bench)
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
