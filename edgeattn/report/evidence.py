"""A bundle and its evidence, read for the page: each document is a file of the bundle that may be missing."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeattn.bench.scenarios import DEFAULT, SCENARIOS, document_name
from edgeattn.bundle import Bundle
from edgeattn.errors import BundleError
from edgeattn.manifest import Manifest

Document = Mapping[str, Any]


def session_of(scenario: str) -> str:
    """The document of a scenario's session."""
    return document_name(scenario).removesuffix(".json")


# document -> the command that writes it again
DOCUMENTS = {
    "check": "edgeattn compile",
    "build": "edgeattn build",
    "verify": "edgeattn verify",
    "bench": "edgeattn bench",
    **{session_of(name): f"edgeattn bench --scenario {name}" for name in SCENARIOS if name != DEFAULT},
    "profile": "edgeattn bench --profile",
}
_WRONG = (OSError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)


@dataclass(frozen=True)
class Evidence:
    """label: what the page calls the bundle. documents: those of DOCUMENTS that are there, by name."""

    label: str
    manifest: Manifest
    documents: Mapping[str, Document]

    def get(self, name: str) -> Document | None:
        """A document, None where the bundle has none."""
        return self.documents.get(name)


def read(bundle: Bundle, label: str, tried: Callable[[Evidence], object]) -> Evidence:
    """The evidence in a bundle.

    tried: uses an evidence as the page will. It gets each document by itself, so that the one that cannot be shown is
    named. Raises BundleError for it.
    """
    with shown_or_refused(bundle.path / "bundle.json", "compile the bundle again"):
        tried(Evidence(label, bundle.manifest, {}))
    found = {}
    for name, command in DOCUMENTS.items():
        path = bundle.path / f"{name}.json"
        if not path.is_file():
            continue
        again = f"run `{command}` again" if name == "check" else f"run `{command}` on the bundle"
        with shown_or_refused(path, again):
            document = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(document, dict):
                raise TypeError("it is not a JSON object")
            tried(Evidence(label, bundle.manifest, {name: document}))
        found[name] = document
    return Evidence(label, bundle.manifest, found)


@contextlib.contextmanager
def shown_or_refused(path: Path, fix: str) -> Iterator[None]:
    """Raises BundleError, which names the file, where what is inside cannot use a document."""
    try:
        yield
    except _WRONG as error:
        raise BundleError(f"cannot be shown: {type(error).__name__}: {error}", where=str(path), fix=fix) from error
