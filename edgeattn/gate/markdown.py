"""gate.md: the verdict as a comment on a pull request. What comes from a bundle or a device is escaped."""

from __future__ import annotations

import re

from edgeattn.gate import text
from edgeattn.gate.document import Document
from edgeattn.plaintext import plain

_MARKUP = re.compile(r"([\\`*_{}\[\]#|~!])")
_MARK = {"PASS": "\N{WHITE HEAVY CHECK MARK}", "FAIL": "\N{CROSS MARK}", "INCONCLUSIVE": "\N{WARNING SIGN}"}


def render(document: Document) -> str:
    """The comment: verdict, a table of device x metric, reasons, and the command that reproduces it."""
    rows = [(document.device, *text.figures(row, document.unit)) for row in document.rows]
    facts = (
        f"`{document.candidate.bundle[:19]}` ({escape(document.candidate.name)}, {document.candidate.runtime}, "
        f"{document.candidate.method}) against `{document.baseline.bundle[:19]}` ({escape(document.baseline.name)}, "
        f"{document.baseline.runtime}, {document.baseline.method}) on {escape(document.device)}"
    )
    rule = document.rule
    lines = [
        f"## {_MARK[document.verdict]} edgeattn gate: {escape(text.headline(document))}",
        "",
        facts,
        "",
        _line(("device", *text.HEAD)),
        _line(["---"] * (len(text.HEAD) + 1)),
        *[_line([escape(each) for each in row]) for row in rows],
        "",
        f"Ratio: candidate / baseline, above 1 is worse. A change up to {rule['ignore']:.0%} is ignored, one of "
        f"{rule['catch']:.0%} is caught; verdicts in brackets decide nothing. Detectable: the slowdown that the most "
        "pairs would tell from what is ignored, with 95 % power in this noise.",
        "",
        *[f"- {escape(sentence)}" for sentence in text.sentences(document)],
        "",
        _fenced(document.reproduce),
        "",
    ]
    return "\n".join(lines)


def escape(found: str) -> str:
    """Text as Markdown shows it literally: no markup, HTML, link, mention or line break."""
    safe = plain(found).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("@", "&#64;")
    return _MARKUP.sub(r"\\\1", safe).replace("://", "&#58;//").replace("www.", "www&#46;").replace("\r", " ")


def _line(cells: list[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


def _fenced(command: str) -> str:
    """A code block whose fence is longer than any row of backticks in it."""
    longest = max((len(found) for found in re.findall(r"`+", command)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}console\n$ {plain(command)}\n{fence}"
