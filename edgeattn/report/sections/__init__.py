"""The sections of the page, one a file, in the order of the page. Each returns None where it has nothing to say."""

from __future__ import annotations

from edgeattn.report.blocks import Section
from edgeattn.report.sections import (
    accuracy,
    conditions,
    energy,
    latency,
    memory,
    parsers,
    plan,
    provenance,
    quantizing,
    reproduce,
    scenarios,
    time_spent,
    training,
)
from edgeattn.report.subject import Subject

_SECTIONS = (
    *(latency, time_spent, accuracy, memory, energy, scenarios, training, plan, quantizing, parsers, conditions),
    *(provenance, reproduce),
)


def sections(subject: Subject) -> list[Section]:
    """All sections that have something to say."""
    return [section for room in _SECTIONS if (section := room.section(subject)) is not None]
