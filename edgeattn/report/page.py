"""The page as text: the verdict and the sections, set by the templates."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from edgeattn.plaintext import plain
from edgeattn.report import pictures
from edgeattn.report.blocks import Section
from edgeattn.report.sections import sections
from edgeattn.report.subject import Subject
from edgeattn.report.verdict import verdict
from edgeattn.report.words import WORDS

_TEMPLATES = Path(__file__).with_name("templates")
MARKS = ("■", "●", "▲", "◆", "▼", "✚")  # in the order of `pictures.svg.MARKERS`


def render(subject: Subject) -> str:
    """The page. Every text in it is escaped, wherever it comes from."""
    drawn = subject.pictures and pictures.available()
    head = verdict(subject)
    page = _environment().get_template("page.html.j2")
    return page.render(
        verdict=head,
        sections=_explained(sections(subject), " ".join(head.sentences)),
        drawn=drawn,
        style=Markup((_TEMPLATES / "style.css").read_text(encoding="utf-8")),  # our own file
        bundles=[(each.label, each.manifest) for each in subject.bundles],
        marks=MARKS,
        words=WORDS,
    )


def tried(subject: Subject) -> None:
    """Make all that the page shows of a subject, and draw nothing. Raises what is wrong with its documents."""
    verdict(replace(subject, pictures=False))
    sections(replace(subject, pictures=False))


def _explained(found: Sequence[Section], said: str) -> list[Section]:
    """Sections that explain each word once: the first that may, where it or what was `said` before uses the word."""
    seen: set[str] = set()
    explained = []
    for section in found:
        said = f"{said} {section.title} {_texts(section.blocks)}".lower()
        new = [
            word
            for word in section.words
            if word not in seen and any(part.lower() in said for part in word.split(", "))
        ]
        explained.append(replace(section, words=new))
        seen |= set(new)
    return explained


def _texts(value: object) -> str:
    """All texts of blocks."""
    if isinstance(value, str):
        return value if not isinstance(value, Markup) else ""
    if isinstance(value, (list, tuple)):
        return " ".join(map(_texts, value))
    return _texts([getattr(value, each.name) for each in fields(value)]) if is_dataclass(value) else ""


@functools.cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )


def _shown(value: object) -> object:
    """Text of a page: without control characters and what is not Unicode."""
    if isinstance(value, Markup):
        return value
    return plain(str(value), lines=True).encode("utf-8", "replace").decode("utf-8")
