"""Provenance: what the bundle was made from, by digests and versions."""

from __future__ import annotations

from edgeattn.report import text
from edgeattn.report.blocks import Block, Facts, Folded, Section, Table
from edgeattn.report.evidence import Evidence
from edgeattn.report.subject import Subject


def section(subject: Subject) -> Section:
    blocks: list[Block] = [_of(subject, evidence) for evidence in subject.bundles]
    return Section("provenance", "Provenance", blocks, ("digest",))


def _of(subject: Subject, evidence: Evidence) -> Folded:
    manifest = evidence.manifest
    files = [(name, text.megabytes(entry.bytes), entry.sha256) for name, entry in sorted(manifest.files.items())]
    files = [entry for entry in files if entry[0] != "report.html"]  # it would have to contain its own digest
    made = [("bundle", manifest.digest), *manifest.provenance.items(), ("made", manifest.created_utc)]
    return Folded(
        subject.headed(evidence, "Digests and versions"),
        [
            Facts(made),
            Facts([(f"{name}, version", version) for name, version in sorted(manifest.libraries.items())]),
            Table("files", ["file", "size", "digest"], files, numbers=(1,)),
        ],
    )
