"""The parsers that a device's graphs meet: one per release of its system software, and one per other runtime."""

from __future__ import annotations

from dataclasses import dataclass

from packaging.version import Version as Order

from edgeattn.check.operators import Operators, has_data, operators_of
from edgeattn.devices import DeviceProfile
from edgeattn.runtimes import RUNTIMES

TENSORRT = "tensorrt"  # the runtime that comes with the system software
_NEWEST = "999"


@dataclass(frozen=True)
class Parser:
    """A runtime's ONNX parser at one version.

    name: the release that it comes with, or the runtime. opset: the lowest and the highest that it takes. operators:
    None where the runtime takes all of ONNX's own. domains: "domain::Name" of the other operators that it takes.
    """

    name: str
    runtime: str
    version: str | None
    opset: tuple[int, int]
    operators: Operators | None
    domains: frozenset[str]


def parsers_of(profile: DeviceProfile) -> tuple[Parser, ...]:
    """The parsers of the profile's runtimes, in its order. Raises InputError for broken operator data."""
    found: list[Parser] = []
    for support in profile.runtimes:
        fused = RUNTIMES[support.name].operators if support.name in RUNTIMES else frozenset()
        if support.name == TENSORRT and profile.software:
            for release in profile.software:
                if support.min_version and Order(release.tensorrt) < Order(support.min_version):
                    continue
                operators = operators_of(TENSORRT, release.tensorrt)
                name = f"{release.name} (TensorRT {release.tensorrt})"
                found.append(
                    Parser(name, TENSORRT, release.tensorrt, release.opset, operators, fused | operators.domains)
                )
        else:
            known = operators_of(support.name, support.min_version or _NEWEST) if has_data(support.name) else None
            domains = fused | (known.domains if known else frozenset())
            found.append(Parser(support.name, support.name, support.min_version, support.opset, known, domains))
    return tuple(found)


def lacking(profile: DeviceProfile, operator: str) -> frozenset[str]:
    """The runtimes of which some release has a parser without an operator of ONNX's."""
    return frozenset(
        parser.runtime for parser in parsers_of(profile) if parser.operators and operator not in parser.operators.known
    )
