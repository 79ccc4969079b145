"""The docstrings of Python's standard library, read from its source files: nothing is imported."""

from __future__ import annotations

import ast
import hashlib
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from edgeattn.errors import DataError

_TESTS = {"test", "tests", "idle_test"}  # folders of tests, some with files that are meant not to parse
_REMEDY = "use builtin:python-docs, or a Python that has its standard library as .py files"


@cache  # read by the preflight and again by the data stage
def docstrings() -> list[tuple[str, list[str]]]:
    """(module, its docstrings): the module's own, those of its classes and functions, and so on; in order of names.

    Raises DataError where the library has no source files, or where one does not parse.
    """
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of old escapes in the library's own texts
        for name, file in _modules().items():
            try:
                texts = list(_of(ast.parse(file.read_bytes())))
            except (SyntaxError, ValueError, OSError) as error:
                raise DataError(f"cannot be read as Python: {error}", where=str(file), fix=_REMEDY) from error
            if texts:
                found.append((name, texts))
    return found


def sources_digest() -> str:
    """Digest of the source files that `docstrings` reads, in a tenth of its time. Raises DataError as it does."""
    digest = hashlib.sha256()
    for name, file in _modules().items():
        try:
            source = file.read_bytes()
        except OSError as error:
            raise DataError(f"cannot be read: {error.strerror}", where=str(file), fix=_REMEDY) from error
        digest.update(f"{name} {len(source)} ".encode() + source)
    return digest.hexdigest()


def _modules() -> dict[str, Path]:
    """Name -> file of each module of the standard library that is written in Python, in the order of their names."""
    library = Path(sysconfig.get_path("stdlib"))
    found = {}
    for name in sys.stdlib_module_names:
        package = library / name
        for file in package.rglob("*.py") if package.is_dir() else [package.with_suffix(".py")]:
            parts = file.relative_to(library).with_suffix("").parts
            if not _TESTS.intersection(parts) and file.is_file():
                found[".".join(parts).removesuffix(".__init__")] = file
    if not found:
        raise DataError("the standard library has no source files", where=str(library), fix=_REMEDY)
    return dict(sorted(found.items()))


def _of(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    if text := ast.get_docstring(node):
        yield text
    for child in node.body:
        if isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from _of(child)
