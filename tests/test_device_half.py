"""The device half stands alone: it imports no room of the host half and none of that half's libraries."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import edgeattn

PACKAGE = Path(edgeattn.__file__).parent
# A file or folder that is not listed here belongs to the device half, so a new one has to choose.
HOST_ROOMS = (
    *("recipe", "models", "data", "tasks", "attention", "convert", "distill", "export", "quantize", "verify"),
    *("pipeline", "preflight", "stage", "stages", "crossover", "estimate", "check"),
)
# Commands of the host half, whose function bodies call it; importing them, as `--help` does, must not.
HOST_COMMANDS = (
    *("cli/check.py", "cli/compile.py", "cli/crossover.py", "cli/estimate.py", "cli/inspect.py"),
    "cli/recipes.py",
)
HOST_LIBRARIES = (
    *(
        "torch",
        "transformers",
        "onnx",
        "scipy",
        "datasets",
        "optimum",
        "onnxscript",
        "sklearn",
        "safetensors",
    ),
    *("accelerate", "matplotlib", "nncf"),
)
# Files of the device half that draw; whoever imports them says what to install where matplotlib is missing.
PLOTS = (
    "history/plot.py",
    *(
        f"report/pictures/{name}.py"
        for name in ("bars", "curves", "layers", "ratios", "scale", "scatter", "stacked", "svg", "training")
    ),
)


def is_host(parts):
    return parts[0].removesuffix(".py") in HOST_ROOMS


FILES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))
DEVICE_FILES = [path for path in FILES if not is_host(path.parts)]


def imported(path, *, inside_functions):
    """Absolute names that a file imports; the style has no relative imports."""
    tree = ast.parse((PACKAGE / path).read_text())
    nodes = list(ast.walk(tree))
    if not inside_functions:
        functions = [node for node in nodes if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
        inner = {id(node) for function in functions for node in ast.walk(function)}
        nodes = [node for node in nodes if id(node) not in inner]
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", DEVICE_FILES, ids=str)
def test_no_device_file_imports_the_host_half(path):
    names = list(imported(path, inside_functions=path.as_posix() not in HOST_COMMANDS))
    rooms = [name for name in names if name.startswith("edgeattn.") and name.split(".")[1] in HOST_ROOMS]
    allowed = ("matplotlib",) if path.as_posix() in PLOTS else ()
    libraries = [name for name in names if name.split(".")[0] in HOST_LIBRARIES and name.split(".")[0] not in allowed]
    assert (rooms, libraries) == ([], [])


PROGRAM = """
import importlib, importlib.abc, sys
blocked, lazy, modules = (argument.split(",") for argument in sys.argv[1:])

class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in blocked:
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Block())
for module in modules:
    importlib.import_module(module)
print(*(name for name in lazy if name in sys.modules))
"""


def test_the_device_half_imports_with_nothing_of_the_host_half_installed():
    files = [path for path in DEVICE_FILES if path.as_posix() not in PLOTS]
    modules = [".".join(("edgeattn", *path.with_suffix("").parts)).removesuffix(".__init__") for path in files]
    modules = [module for module in modules if module != "edgeattn.__main__"]
    lazy = ["onnxruntime", "openvino", "tensorrt", "tensorrt_rtx", "polygraphy"]
    arguments = [",".join(names) for names in (HOST_LIBRARIES, lazy, modules)]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [], "imported without being asked for"
