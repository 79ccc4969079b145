"""The only place that reads YAML: a small, strict part of YAML 1.2 that remembers the line of every value.

A recipe or device profile may come from anywhere, so harmful input is refused while the text is still a stream of
events, before values are built: big files, deep nesting, anchors and aliases (as an alias bomb has), tags
(`!!python/...`), duplicate keys and more than one document.

Plain scalars follow the core schema of YAML 1.2, narrowed to one spelling each: `true` and `false`; `null`, `~` or
nothing; decimal whole numbers; decimal fractions (including `1e-3`, which YAML 1.1 reads as text). Everything else,
such as `no`, `017`, `0o17`, `12:30` or a date, is text.
"""

from __future__ import annotations

import math
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml

from edgeattn.errors import InputError

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 32

Place = tuple[str | int, ...]  # keys and list indices that lead to a value, as in pydantic's `loc`

_KEYWORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None, "~": None, "": None}
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


@dataclass(frozen=True)
class Positions:
    """The line of each value in a file."""

    file: Path
    lines: dict[Place, int]  # the first line is 1

    def known(self, loc: Place) -> Place:
        """`loc` without the parts that are not in the file: pydantic's names for members of a union, missing keys."""
        place: Place = ()
        for part in loc:
            if (*place, part) in self.lines:
                place = (*place, part)
        return place

    def where(self, loc: Place = ()) -> str:
        """ "file:line" of the value at `loc`, or of the nearest part around it that is in the file."""
        return f"{self.file}:{self.lines[self.known(loc)]}"


def read_yaml(path: Path, *, error: type[InputError] = InputError) -> tuple[Any, Positions]:
    """The one document in a YAML file as plain dicts, lists and scalars, and the line of each value.

    Raises `error`, with file and line, on everything that this module refuses.
    """
    text = _read_text(path, error)
    reader = _Reader(path, error)
    return reader.document(text), Positions(path, reader.lines)


def _read_text(path: Path, error: type[InputError]) -> str:
    try:
        # Before opening it: opening a pipe would wait for a writer.
        if not stat.S_ISREG(path.stat().st_mode):
            raise error("is not a regular file", where=str(path), fix="give the path of a YAML file")
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise error("no such file", where=str(path), fix="check the path") from None
    except (OSError, ValueError) as cause:  # ValueError: a NUL in the path
        raise error(f"cannot be read: {cause}", where=repr(str(path))) from cause
    if len(raw) > MAX_BYTES:
        raise error(f"is larger than {MAX_BYTES} bytes (1 MiB)", where=str(path), fix="make it smaller")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as cause:
        line = raw.count(b"\n", 0, cause.start) + 1
        fact = f"byte 0x{raw[cause.start]:02x} is not UTF-8"
        raise error(fact, where=f"{path}:{line}", fix="save the file as UTF-8") from None


class _Reader:
    """Turns the events of one document into values."""

    def __init__(self, path: Path, error: type[InputError]) -> None:
        self.path = path
        self.error = error
        self.lines: dict[Place, int] = {(): 1}
        self.line = 1  # of the event in hand
        self.events: Iterator[yaml.Event] = iter(())

    def document(self, text: str) -> Any:
        try:
            self.events = iter(yaml.parse(text, Loader=yaml.SafeLoader))
            self.next()  # start of the stream
            if isinstance(self.next(), yaml.StreamEndEvent):
                return None
            value = self.value((), self.next())
            self.next()  # end of the document
            if not isinstance(self.next(), yaml.StreamEndEvent):
                self.refuse("a second document begins here", "keep one document in the file")
            return value
        except yaml.reader.ReaderError as cause:
            self.line = text.count("\n", 0, cause.position) + 1
            self.refuse(f"character {chr(int(cause.character))!r} is not allowed in YAML", "remove it")
        except yaml.MarkedYAMLError as cause:
            mark = cause.problem_mark or cause.context_mark
            self.line = mark.line + 1 if mark else self.line
            self.refuse(f"not valid YAML: {cause.problem or cause.context}", "correct the syntax at this line")
        except (ValueError, OverflowError) as cause:
            # PyYAML raises these for an escape such as "\UFFFFFFFF" and for a %YAML version of 5000 digits.
            self.refuse(f"not valid YAML: {cause}", "correct the syntax after this line")

    def refuse(self, fact: str, fix: str) -> NoReturn:
        raise self.error(fact, where=f"{self.path}:{self.line}", fix=fix) from None

    def next(self) -> yaml.Event:
        """The next event, refused if it holds an alias, an anchor or a tag."""
        event = next(self.events)
        if event.start_mark is not None:
            self.line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            self.refuse(f"alias *{event.anchor} is refused", "write the value out")
        if anchor := getattr(event, "anchor", None):
            self.refuse(f"anchor &{anchor} is refused", "write the value out where it is needed")
        if tag := getattr(event, "tag", None):
            tag = tag.replace("tag:yaml.org,2002:", "!!")
            self.refuse(f"tag {tag!r} is refused", "remove the tag; use quotation marks to make a value text")
        return event

    def value(self, place: Place, event: yaml.Event) -> Any:
        line = self.lines.setdefault(place, self.line)
        if len(place) > MAX_DEPTH:
            self.line = line  # of the key, which an absent value would not give
            self.refuse(f"is nested more than {MAX_DEPTH} levels deep", "make it flatter")
        if isinstance(event, yaml.ScalarEvent):
            return self.scalar(event)
        if isinstance(event, yaml.SequenceStartEvent):
            return self.sequence(place)
        return self.mapping(place)

    def sequence(self, place: Place) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := self.next(), yaml.SequenceEndEvent):
            items.append(self.value((*place, len(items)), event))
        return items

    def mapping(self, place: Place) -> dict[str, Any]:
        values: dict[str, Any] = {}
        while not isinstance(event := self.next(), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                self.refuse("a list or mapping cannot be a key", "use a plain name as the key")
            key = self.text(event.value)  # a key is always text: `no:` is the key "no"
            here = (*place, key)
            if key in values:
                self.refuse(f"duplicate key {key!r}, already at line {self.lines[here]}", "keep one of the two lines")
            self.lines[here] = self.line
            values[key] = self.value(here, self.next())
        return values

    def scalar(self, event: yaml.ScalarEvent) -> str | int | float | bool | None:
        text = self.text(event.value)
        if not event.implicit[0]:  # in quotation marks, or a block of text
            return text
        if text in _KEYWORDS:
            return _KEYWORDS[text]
        if _INTEGER.fullmatch(text):
            if len(text) > 19:
                self.refuse("a whole number of more than 19 digits is refused", "use a smaller number")
            return int(text)
        if _FLOAT.fullmatch(text):
            number = float(text)
            if not math.isfinite(number):
                self.refuse(f"{text} is too large for a number", "use a smaller number")
            return number
        if _NOT_FINITE.fullmatch(text):
            self.refuse(f"{text} is not a finite number", "use a finite number")
        return text

    def text(self, text: str) -> str:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            self.refuse(f"{text!r} holds half a surrogate pair", "write the character itself")
        return text
