"""The page of a bundle from documents, as `edgeattn report` makes it from files."""

from __future__ import annotations

import re
from html import unescape

from edgeattn.report import page
from edgeattn.report.evidence import Evidence
from edgeattn.report.subject import Subject


def evidence(manifest, label=None, **documents):
    """documents: by name; None: the bundle has none."""
    found = {name.replace("_", "-"): document for name, document in documents.items() if document is not None}
    return Evidence(label or manifest.name, manifest, found)


def render(manifest, *, pictures=False, **documents):
    return page.render(Subject([evidence(manifest, **documents)], pictures=pictures))


def visible(markup):
    """The text of a page as a reader sees it."""
    body = markup.partition("</style>")[2] or markup
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body)))
