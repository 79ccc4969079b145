"""What the methods said of the candidates that they made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeattn.report.evidence import Evidence


def quantized(evidence: Evidence) -> Mapping[str, Mapping[str, Any]]:
    """The facts of the quantized candidates by name.

    A built bundle has them in its build document, no longer in its manifest.
    """
    found: Mapping[str, Mapping[str, Any]] = (evidence.get("build") or {}).get("quantized") or {}
    return found or {candidate.name: candidate.facts for candidate in evidence.manifest.candidates}
