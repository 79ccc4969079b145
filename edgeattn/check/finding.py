"""What a check says: findings about nodes, and per parser whether it takes the graph."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import Field

from edgeattn.validation import Many, Part

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Fault:
    """What a rule finds for one parser. rule: its name in docs/graph-check.md.

    severity: "error" where the parser refuses the graph or computes something else, "warning" where it is slower or
    less precise than it has to be. node, operator: empty where it is about the whole graph.
    """

    severity: Severity
    rule: str
    node: str
    operator: str
    fact: str
    source: str
    remedy: str


class Finding(Part):
    """A fault, and the parsers that have it. releases: names of parsers, as in `Verdict`."""

    severity: Severity
    rule: str
    node: str
    operator: str
    fact: str
    releases: Many[str]
    source: str
    remedy: str


class Verdict(Part):
    """Whether one parser takes the graph.

    release: a release of the device's system software, or the runtime where it does not come with one.
    """

    release: str
    runtime: str
    version: str | None
    passed: bool


class Report(Part):
    """The check of one graph. operators: how often each is there, "domain::Name" outside of ONNX's own."""

    opset: Annotated[int, Field(ge=0)]
    nodes: Annotated[int, Field(ge=1)]
    operators: dict[str, int]
    releases: Many[Verdict]
    findings: Many[Finding]

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings for which a parser refuses the graph."""
        return tuple(finding for finding in self.findings if finding.severity == "error")

    def lost(self) -> tuple[str, ...]:
        """The runtimes of which no parser takes the graph."""
        passed = {verdict.runtime for verdict in self.releases if verdict.passed}
        return tuple(dict.fromkeys(each.runtime for each in self.releases if each.runtime not in passed))


def report_of(facts: dict[str, Any], verdicts: list[tuple[str, str, str | None]], faults: list[list[Fault]]) -> Report:
    """The report of a graph. verdicts: (release, runtime, version) per parser; faults: of each parser, in that order.

    Faults of several parsers that differ in their source only become one finding. Errors come first, then the order of
    the graph.
    """
    together: dict[Fault, tuple[list[str], list[str]]] = {}
    for (release, _, _), found in zip(verdicts, faults, strict=True):
        for fault in found:
            releases, sources = together.setdefault(replace(fault, source=""), ([], []))
            releases += [release] * (release not in releases)
            sources += [fault.source] * (fault.source not in sources)
    findings = [
        Finding(**{**vars(fault), "releases": tuple(releases), "source": "; ".join(sources)})
        for fault, (releases, sources) in together.items()
    ]
    findings.sort(key=lambda finding: finding.severity)
    return Report(
        **facts,
        releases=tuple(
            Verdict(
                release=release,
                runtime=runtime,
                version=version,
                passed=not any(fault.severity == "error" for fault in found),
            )
            for (release, runtime, version), found in zip(verdicts, faults, strict=True)
        ),
        findings=tuple(findings),
    )
