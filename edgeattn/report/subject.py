"""What a page is about: one bundle, or several side by side, and the sessions that timed them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgeattn.report.evidence import Document, Evidence

SERIES = 6  # colours of the palette
_MACHINE = ("module", "board", "cpu_model", "cores_usable", "power_mode")


@dataclass(frozen=True)
class Session:
    """A bench document. label: of the bundle whose dense and efficient engines it timed; "" where the page has one."""

    label: str
    document: Document

    @property
    def names(self) -> list[str]:
        """The contestants, the reference first."""
        reference = str(self.document["reference"])
        return [reference, *(name for name in self.document["contestants"] if name != reference)]

    @property
    def by_length(self) -> bool:
        """Whether its inputs have lengths."""
        return any(cell["length"] is not None for cell in self.document["cells"])

    def series(self, name: str) -> str:
        """What the page calls a contestant."""
        return f"{self.label}: {name}" if self.label else name


@dataclass(frozen=True)
class Subject:
    """bundles: at least one. together: documents, by name, of a session that timed the shipped engines of all of them.

    pictures: draw them, where something here can.
    """

    bundles: Sequence[Evidence]
    together: Mapping[str, Document] = field(default_factory=dict)
    pictures: bool = True

    @property
    def several(self) -> bool:
        return len(self.bundles) > 1

    def sessions(self, name: str = "bench") -> list[Session]:
        """The sessions of a document's name that timed the bundles."""
        if self.together:
            return [Session("", self.together[name])] if name in self.together else []
        found = ((each.label if self.several else "", each.get(name)) for each in self.bundles)
        return [Session(label, document) for label, document in found if document is not None]

    def documents(self, name: str) -> Iterator[tuple[Evidence, Document]]:
        """The bundles that have a document."""
        for each in self.bundles:
            if (document := each.get(name)) is not None:
                yield each, document

    def headed(self, evidence: Evidence, title: str) -> str:
        """A title, with the bundle's label where the page is about several."""
        return f"{evidence.label}: {title}" if self.several else title


def machine(document: Document) -> str:
    """The machine of a document in a few words, such as "Raspberry Pi 5, Cortex-A76, 4 cores"."""
    facts = document.get("machine") or {}
    if not isinstance(facts, dict):
        raise TypeError("machine is not a JSON object")
    named = [facts.get(key) for key in ("module", "board", "cpu_model")]
    cores = facts.get("cores_usable")
    words = [str(each) for each in named if each]
    words += [f"{float(cores):g} {'core' if cores == 1 else 'cores'}"] if isinstance(cores, (int, float)) else []
    words += [f"power mode {facts['power_mode']}"] if facts.get("power_mode") else []
    return ", ".join(words) or "an unknown machine"


def same_machine(documents: Sequence[Document]) -> bool:
    """Whether the documents were measured on machines that look alike."""

    def alike(document: Document) -> tuple[Any, ...]:
        facts = document.get("machine") or {}
        return tuple(str(facts.get(key)) for key in _MACHINE)

    return len({alike(each) for each in documents}) <= 1
