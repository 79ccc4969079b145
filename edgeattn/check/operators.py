"""What a runtime's ONNX parser takes, by version: devices/operators/<runtime>.yaml, read and resolved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Annotated, Literal, TypeVar

from packaging.version import Version as Order
from pydantic import Field

from edgeattn.devices.profile import Name, Text, Version
from edgeattn.shipped import shipped
from edgeattn.validation import Many, Part, validate
from edgeattn.yamlfile import read_yaml

T = TypeVar("T")
Dated = dict[Version, T]  # version from which on -> value
_Place = Annotated[int, Field(ge=0)]  # of an input
_Value = str | int | float


class Rank(Part):
    """The number of dimensions that an input may have."""

    input: _Place
    least: int
    most: int


class Most(Part):
    """The highest value that a constant input may have."""

    input: _Place
    value: int


class Kind(Part):
    """The element types that a further input may have."""

    input: _Place
    types: Many[str]


class Limit(Part):
    """One condition of an operator's; a parser refuses a node that breaks it.

    constant: an input that has to be known when the graph is parsed. given, absent: inputs that must, and must not be
    given. kind: types of a further input. outputs: the most that may be used. values: attribute -> values that it may
    have. without: attributes that must not be given. ones: an attribute whose items are all 1. rank, most: of an input.
    sized: an input without free dimensions. integer_unless: an attribute without which the inputs are integers.
    alike: inputs of one shape.
    since, until: the versions that have the condition. beside: it holds only where this input has that rank. where:
    only where this attribute is not 0. why: the reason, for messages.
    """

    since: Version | None = None
    until: Version | None = None
    constant: _Place | None = None
    given: _Place | None = None
    absent: Many[_Place] = ()
    kind: Kind | None = None
    outputs: int | None = None
    values: dict[str, Many[_Value]] = Field(default_factory=dict)
    without: Many[str] = ()
    ones: str | None = None
    rank: Rank | None = None
    most: Most | None = None
    sized: _Place | None = None
    integer_unless: str | None = None
    alike: Many[_Place] = ()
    beside: Rank | None = None
    where: str | None = None
    why: Text | None = None


class Operator(Part):
    """An operator that some version has. types: a name of the file's types, for the input `typed`."""

    since: Version | None = None
    types: str | Dated[str] | None = None
    typed: _Place = 0
    limits: Many[Limit] = ()


class Like(Part):
    """The parser that another one is made from."""

    runtime: Name
    version: Version


class OperatorFile(Part):
    """A file of devices/operators."""

    schema_version: Literal[1] = Field(alias="schema")
    like: Like | None = None
    sources: Dated[Text]
    computed_as: Dated[dict[str, str]] = Field(default_factory=dict)
    tensors: Dated[Many[str]] = Field(default_factory=dict)
    types: dict[str, Dated[Many[str]]] = Field(default_factory=dict)
    plain: dict[str, Many[str]] = Field(default_factory=dict)
    operators: dict[str, Operator] = Field(default_factory=dict)
    lacks: Many[str] = ()
    domains: dict[str, Many[str]] = Field(default_factory=dict)
    folds: bool | None = Field(default=None, description="computes what depends on constants only while it parses")
    instead: dict[str, Text] = Field(default_factory=dict)


@dataclass(frozen=True)
class Known:
    """An operator at one version. types: None where any will do."""

    types: frozenset[str] | None
    typed: int
    limits: tuple[Limit, ...]


@dataclass(frozen=True)
class Operators:
    """What a parser of one version takes.

    tensors: element types of graph inputs. computed_as: element type -> the type that it is computed in.
    domains: "domain::Name" of operators that are not ONNX's own. instead: operator -> what to do without it.
    """

    version: str
    source: str
    tensors: frozenset[str]
    computed_as: Mapping[str, str]
    types: Mapping[str, frozenset[str]]
    known: Mapping[str, Known]
    domains: frozenset[str]
    folds: bool
    instead: Mapping[str, str]


def has_data(runtime: str) -> bool:
    """Whether there is a file for the runtime's parser."""
    return (shipped("devices") / "operators" / f"{runtime}.yaml").is_file()


@cache
def operators_of(runtime: str, version: str) -> Operators:
    """What the parser of a runtime takes at a version. Raises InputError for a broken file."""
    file = _read(runtime)
    base = operators_of(file.like.runtime, file.like.version) if file.like else _NOTHING
    types = {**base.types, **{name: frozenset(_at(dated, version) or ()) for name, dated in file.types.items()}}
    plain = {name: Operator(types=kind) for kind, names in file.plain.items() for name in names}
    known = {
        name: Known(_types(operator, version, types), operator.typed, _limits(operator, version))
        for name, operator in {**plain, **file.operators}.items()
        if operator.since is None or Order(version) >= Order(operator.since)
    }
    tensors = _at(file.tensors, version)
    return replace(
        base,
        version=version,
        source=_at(file.sources, version) or next(iter(file.sources.values())),
        tensors=base.tensors if tensors is None else frozenset(tensors),
        computed_as={**base.computed_as, **(_at(file.computed_as, version) or {})},
        types=types,
        known={name: each for name, each in {**base.known, **known}.items() if name not in file.lacks},
        domains=base.domains | {f"{domain}::{name}" for domain, names in file.domains.items() for name in names},
        folds=base.folds if file.folds is None else file.folds,
        instead={**base.instead, **file.instead},
    )


_NOTHING = Operators("", "", frozenset(), {}, {}, {}, frozenset(), False, {})


@cache
def _read(runtime: str) -> OperatorFile:
    document, positions = read_yaml(shipped("devices") / "operators" / f"{runtime}.yaml")
    return validate(OperatorFile, document, positions)


def _at(dated: Mapping[str, T], version: str) -> T | None:
    """The value that holds at `version`; the first one before it began."""
    found = next(iter(dated.values()), None)
    for since, value in dated.items():
        if Order(version) >= Order(since):
            found = value
    return found


def _types(operator: Operator, version: str, types: Mapping[str, frozenset[str]]) -> frozenset[str] | None:
    name = _at(operator.types, version) if isinstance(operator.types, dict) else operator.types
    return None if name is None else types[name]


def _limits(operator: Operator, version: str) -> tuple[Limit, ...]:
    at = Order(version)
    return tuple(
        limit
        for limit in operator.limits
        if (limit.since is None or at >= Order(limit.since)) and (limit.until is None or at < Order(limit.until))
    )
