"""Where workspaces and jobs lie in edgeattn's folder on the device."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from edgeattn.errors import InputError

BUNDLE = "bundle"
_ID = re.compile(r"[0-9a-f]{16}")

Document = dict[str, Any]


def bundle_folder(request: Document) -> Path:
    """Of the workspace that a request names. Raises InputError."""
    return Path("work", _identifier(request["workspace"]), BUNDLE)


def job_folder(job: str) -> Path:
    """Of the job with this identifier. Raises InputError."""
    return Path("jobs", _identifier(job))


def _identifier(text: str) -> str:
    if not _ID.fullmatch(text):
        raise InputError(f"{text!r} is not an identifier")
    return text
