"""Closed, lazy tables of names: a name in YAML selects an entry in code, never a Python path."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar, cast

from edgeattn.errors import InputError

T = TypeVar("T")


def nearest(name: str, names: list[str] | tuple[str, ...]) -> str | None:
    """The one of `names` that is most like `name`; None if none is similar."""
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return close[0] if close else None


def did_you_mean(name: str, names: list[str] | tuple[str, ...]) -> str:
    """A remedy for a wrong name: the nearest right one, and all of them."""
    close = nearest(name, names)
    known = ", ".join(sorted(names))
    return f"did you mean {close!r}? known: {known}" if close else f"known: {known}"


class Registry(Generic[T]):
    """A closed table `name -> "module:attribute"`, imported on first use.

    >>> ATTENTION = Registry[type]("attention", {"hedgehog": "edgeattn.attention.hedgehog:Hedgehog"})
    """

    def __init__(self, kind: str, entries: Mapping[str, str]) -> None:
        self.kind = kind
        self._entries = dict(entries)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, name: str) -> T:
        """The entry called `name`. Raises InputError naming the nearest entry."""
        if name not in self._entries:
            raise InputError(f"unknown {self.kind} {name!r}", fix=did_you_mean(name, list(self._entries)))
        module, _, attribute = self._entries[name].partition(":")
        return cast(T, getattr(importlib.import_module(module), attribute))
