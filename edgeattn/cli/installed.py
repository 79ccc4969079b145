"""Which of edgeattn's requirements are installed, from package metadata alone: only packaging is imported.

So it also works where the rest of the device half is missing.
"""

from __future__ import annotations

import importlib.metadata
import platform
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from edgeattn.errors import DeviceError
from edgeattn.versions import installed_version

_EXTRA = re.compile(r'\bextra == "([^"]+)"')

# The host half's versions of transformers and onnxruntime install on no older Python.
HOST_PYTHON = (3, 11)
HOST_EXTRAS = ("compile", "demo", "dev")


@dataclass(frozen=True)
class Package:
    """A package that edgeattn names.

    tested: the range of versions, such as ">=1.23,<1.24".
    installed: None where it is missing, "unknown" where it can be imported but has no metadata.
    """

    name: str
    tested: str
    installed: str | None

    @property
    def status(self) -> str:
        """ok, missing, unknown, or outside the tested range."""
        if self.installed is None:
            return "missing"
        inside = in_range(self.installed, self.tested)
        return "unknown" if inside is None else "ok" if inside else "outside the tested range"


@dataclass(frozen=True)
class Group:
    """The device half (extra None), or one of edgeattn's extras."""

    extra: str | None
    packages: list[Package]

    @property
    def whole(self) -> bool:
        """Whether no package is missing or outside its tested range."""
        return all(package.status in ("ok", "unknown") for package in self.packages)

    @property
    def install(self) -> str:
        """The command that installs it."""
        return how_to_install(self.extra)


def how_to_install(extra: str | None) -> str:
    """The remedy for a missing package of an extra, or of the device half (None)."""
    if extra is None:
        return "pip install --upgrade edgeattn"
    command = f"pip install 'edgeattn[{extra}]'"
    if extra in HOST_EXTRAS and sys.version_info < HOST_PYTHON:
        return f"in an environment of Python {'.'.join(map(str, HOST_PYTHON))} or later: {command}"
    return command


def groups() -> Iterator[Group]:
    """The device half and every extra, in the order of the package's own metadata.

    Raises DeviceError where edgeattn itself is not installed and so has none.
    """
    from packaging.requirements import Requirement  # here, so that `how_to_install` can say that it is missing

    try:
        requirements = importlib.metadata.requires("edgeattn") or []
        python = importlib.metadata.metadata("edgeattn")["Requires-Python"]
    except importlib.metadata.PackageNotFoundError:
        raise DeviceError(
            "edgeattn is not installed as a package, so its requirements are unknown",
            fix="pip install edgeattn; in a checkout, pip install --editable .",
        ) from None
    ranges: dict[str | None, dict[str, set[str]]] = {None: {}}
    for text in requirements:
        requirement = Requirement(text)
        if requirement.name == "edgeattn":  # one extra that includes another
            continue
        named = _EXTRA.search(str(requirement.marker))
        # A package may be named more than once: build tools write an included extra out.
        clauses = ranges.setdefault(named[1] if named else None, {}).setdefault(requirement.name, set())
        clauses |= set(map(str, requirement.specifier))
    for extra, packages in ranges.items():
        listed = [
            Package(name, ",".join(sorted(clauses, reverse=True)), installed_version(name))
            for name, clauses in packages.items()
        ]
        if extra is None:
            listed.insert(0, Package("python", python, platform.python_version()))
        yield Group(extra, listed)


def in_range(version: str, tested: str) -> bool | None:
    """Whether a version lies in a range such as ">=1.23,<1.24"; None if either cannot be read."""
    from packaging.specifiers import InvalidSpecifier, SpecifierSet
    from packaging.version import InvalidVersion, Version

    if not tested:
        return True
    try:
        return SpecifierSet(tested).contains(Version(version), prereleases=True)
    except (InvalidSpecifier, InvalidVersion):
        return None
