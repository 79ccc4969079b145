"""Checks a YAML document against its pydantic model. Errors have line, key and remedy."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from edgeattn.errors import InputError
from edgeattn.registry import did_you_mean
from edgeattn.yamlfile import Place, Positions

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")


class Part(BaseModel):
    """A closed, strict, frozen part of a recipe, device profile or manifest."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _distinct(values: tuple[T, ...]) -> tuple[T, ...]:
    for index, value in enumerate(values):
        if value in values[:index]:
            raise ValueError(f"names {value} twice; name it once")
    return values


Count = Annotated[int, Field(ge=1, le=1_000_000)]
# A list in a document, a tuple in a frozen part. Distinct: not empty, and no value twice.
Many = Annotated[tuple[T, ...], BeforeValidator(_as_tuple)]
Distinct = Annotated[tuple[T, ...], BeforeValidator(_as_tuple), AfterValidator(_distinct), Field(min_length=1)]

_EXPECTED = {
    "bool_type": "true or false",
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "none_required": "nothing",
}
_TYPES = (*_EXPECTED, "literal_error")
_LIMITS = {
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "multiple_of": "a multiple of {multiple_of}",
}


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a document."""

    where: str  # file:line
    key: str  # such as distill.finetune.steps; empty for the document as a whole
    message: str
    fix: str | None

    @property
    def fact(self) -> str:
        return f"{self.key}: {self.message}" if self.key else self.message


def validate(model: type[M], document: Any, positions: Positions, *, error: type[InputError] = InputError) -> M:
    """`document` as a `model`. Raises one `error` that lists all findings, as "file:line: key: message".

    A validator of the model may raise ValueError("fact; remedy") or, about one of its part's keys,
    ValueError("key: fact; remedy").
    """
    try:
        return model.model_validate(document)
    except ValidationError as invalid:
        raise combined(list(_findings(model, document, positions, invalid)), positions, error) from None


def options_of(entry: str, options: Mapping[str, Any], known: type[M]) -> M:
    """The options of a registry's entry, whose class is `known`, as a recipe gives them.

    Raises ValueError("fact; remedy") with the nearest name for an unknown option, and pydantic's ValidationError.
    """
    for name in options:
        if not known.model_fields:
            raise ValueError(f"option {name!r}: {entry} has no options")
        if name not in known.model_fields:
            raise ValueError(f"option {name!r} is not one of {entry}'s; {did_you_mean(name, list(known.model_fields))}")
    return known.model_validate(dict(options))


def combined(findings: list[Finding], positions: Positions, error: type[InputError]) -> InputError:
    """One error that lists all of `findings` in the order of their lines; there is at least one."""
    findings = sorted(findings, key=lambda finding: int(finding.where.rpartition(":")[2]))
    if len(findings) == 1:
        only = findings[0]
        return error(only.fact, where=only.where, fix=only.fix)
    lines = [f"{len(findings)} errors"]
    for finding in findings:
        lines.append(f"{finding.where}: {finding.fact}")
        if finding.fix:
            lines.append(f"  fix: {finding.fix}")
    return error("\n  ".join(lines), where=str(positions.file))


def key_text(place: Place) -> str:
    """`place` as a user writes it: attention[0].layers"""
    parts = (f"[{part}]" if isinstance(part, int) else f".{_shown_key(part)}" for part in place)
    return "".join(parts).removeprefix(".")


def _findings(
    model: type[BaseModel], document: Any, positions: Positions, invalid: ValidationError
) -> Iterator[Finding]:
    # Each member of a union reports its own errors about one value: these become one finding.
    groups: dict[Place, list[ErrorDetails]] = {}
    for details in invalid.errors(include_url=False):
        place = positions.known(details["loc"])
        if details["type"] == "missing":
            place = (*place, details["loc"][-1])
        groups.setdefault(place, []).append(details)
    for place, group in groups.items():
        inner = any(len(other) > len(place) and other[: len(place)] == place for other in groups)
        if inner and all(details["type"] in _TYPES for details in group):
            continue  # another member of the union got further into the value, and its error is more precise
        yield _finding(model, document, positions, place, group)


def _finding(
    model: type[BaseModel], document: Any, positions: Positions, place: Place, group: list[ErrorDetails]
) -> Finding:
    """One finding for all errors at one place."""
    # The error of a validator is more precise than those of the union's other members, about the type.
    first = next((details for details in group if details["type"] == "value_error"), group[0])
    kind, context = first["type"], first.get("ctx", {})
    fix: str | None
    if kind == "extra_forbidden":
        part = _part_at(model, document, place[:-1])
        message = "unknown key"
        fix = did_you_mean(str(place[-1]), list(_fields(part))) if part else "remove it"
    elif kind == "missing":
        part = _part_at(model, document, place[:-1])
        field = _fields(part).get(str(place[-1])) if part else None
        message = "is missing"
        fix = f"add it: {field.description}" if field and field.description else "add it"
    elif kind in ("union_tag_invalid", "union_tag_not_found"):
        place = (*place, context["discriminator"].strip("'"))
        message, fix = "is missing", "add it"
        if kind == "union_tag_invalid":
            message = f"{_shown(context['tag'])} is unknown"
            fix = _nearest(str(context["tag"]), context["expected_tags"])
    elif kind == "value_error":
        message, *remedy = str(context["error"]).rsplit("; ", 1)
        fix = remedy[0] if remedy else "correct the value"
        name, colon, rest = message.partition(": ")
        if colon and (*place, name) in positions.lines:
            place, message = (*place, name), rest
        elif colon and place and name == place[-1]:
            message = rest
    else:
        message, fix = _wrong_value(group)
    return Finding(positions.where(place), key_text(place), message, fix)


def _wrong_value(group: list[ErrorDetails]) -> tuple[str, str]:
    """Fact and remedy for a value of the wrong type or out of range."""
    for details in group:
        kind, value, context = details["type"], details["input"], details.get("ctx", {})
        if kind in _LIMITS:
            limit = _LIMITS[kind].format(**context)
            return f"must be {limit}, not {_shown(value)}", f"use {limit}"
        if kind == "too_short":
            return "is an empty list", "name at least one, or remove the key"
        if kind == "string_too_long":
            return f"is {len(value)} characters long, {context['max_length']} are allowed", "shorten it"
        if kind == "string_pattern_mismatch":
            return f"{_shown(value)} does not match {context['pattern']}", "write it in that form"
        if kind not in _TYPES:
            return details["msg"], "correct the value"
    # Each member of a union has its own expectation.
    *others, last = dict.fromkeys(_EXPECTED.get(details["type"]) or details["ctx"]["expected"] for details in group)
    wanted = f"{', '.join(others)} or {last}" if others else last
    value = group[0]["input"]
    fix = _how_to_write(value, group[0]["type"], last) or f"write {wanted}"
    return f"{wanted} is expected, not {described(value)}", fix


def described(value: Any) -> str:
    """A value as messages call it: "the number 3", "a mapping"."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return f"the number {value}"
    if isinstance(value, str):
        return f"the text {_shown(value)}"
    return "a mapping" if isinstance(value, dict) else "a list"


def _shown(value: Any) -> str:
    text = repr(value)  # so that control characters in a recipe cannot reach a terminal
    return text if len(text) <= 60 else f"{text[:57]}..."


def _shown_key(key: str) -> str:
    return key if re.fullmatch(r"[\w-]+", key) else _shown(key)


def _how_to_write(value: Any, kind: str, expected: str) -> str | None:
    if kind == "string_type":
        return None if value is None or isinstance(value, (list, dict)) else "put it in quotation marks"
    if not isinstance(value, str):
        return None
    if kind == "literal_error":
        return _nearest(value, expected)
    if kind == "bool_type":
        return f"write true or false without quotation marks; {_shown(value)} is text in YAML 1.2"
    if kind in ("int_type", "float_type"):
        return f"write a decimal number without quotation marks; {_shown(value)} is text in YAML 1.2"
    return None


def _nearest(name: str, expected: str) -> str | None:
    names = re.findall(r"'([^']*)'", expected)
    return did_you_mean(name, names) if names else None


def _fields(part: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields of a part by their keys in a document."""
    return {field.alias or name: field for name, field in part.model_fields.items()}


def _part_at(model: type[BaseModel], document: Any, place: Place) -> type[BaseModel] | None:
    """The model of the mapping at `place`; if a union allows several, the one that fits best."""
    part: type[BaseModel] | None = model
    models: list[type[BaseModel]] = [model]
    value = document
    for key in place:
        value = value[key]
        if isinstance(key, str):
            field = _fields(part).get(key) if part else None
            models = list(_models(field.annotation)) if field else []
        part = min(models, key=lambda each: _misfit(each, value), default=None)
    return part


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


def _misfit(model: type[BaseModel], value: Any) -> int:
    try:
        model.model_validate(value)
    except ValidationError as invalid:
        return invalid.error_count()
    return 0
