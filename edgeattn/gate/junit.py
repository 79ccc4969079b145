"""junit.xml: a test case per metric, for the test reports of GitHub, GitLab and Jenkins."""

from __future__ import annotations

from xml.etree import ElementTree as Xml

from edgeattn.gate import text
from edgeattn.gate.document import Document, Row
from edgeattn.plaintext import plain


def render(document: Document) -> str:
    """A blocking FAIL is a failure, a blocking INCONCLUSIVE an error; what decides nothing is skipped, with its why."""
    found = [_case(row, document) for row in document.rows]
    suite = Xml.Element(
        "testsuite",
        name="edgeattn gate",
        tests=str(len(found)),
        failures=str(sum(each.find("failure") is not None for each in found)),
        errors=str(sum(each.find("error") is not None for each in found)),
        skipped=str(sum(each.find("skipped") is not None for each in found)),
        time=f"{document.seconds:.1f}",
        timestamp=document.created_utc,
    )
    suite.extend(found)
    root = Xml.Element("testsuites")
    root.append(suite)
    Xml.indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{Xml.tostring(root, encoding="unicode")}\n'


def _case(row: Row, document: Document) -> Xml.Element:
    case = Xml.Element("testcase", classname=plain(document.device), name=plain(text.cell(row, document.unit)))
    if row.verdict == "PASS" and row.blocking:
        return case
    name = "skipped" if not row.blocking else "failure" if row.verdict == "FAIL" else "error"
    said = f"{text.verdict(row)} {row.why or ''}".rstrip() if row.verdict else row.why or "recorded, not judged"
    Xml.SubElement(case, name, message=plain(said))
    return case
