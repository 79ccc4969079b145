"""Runs types side by side, each in a process of its own with limits of time and memory."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import logging
import multiprocessing
import resource
import signal
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.architectures.cases import example
from benchmarks.architectures.checks import examine, first_line
from benchmarks.architectures.compare import run
from benchmarks.architectures.tiny import LEVELS, NotBuildable, build

Row = dict[str, Any]
WORKERS, CPU_LIMIT_S, TIME_LIMIT_S, MEMORY_BYTES = 2, 120, 900.0, 6 * 1024**3


def sweep(types: Iterable[str], one: Callable[[str], Row], told: Callable[[Row], None]) -> list[Row]:
    """The row of each type, in the order given; `told` hears of each as it ends."""
    context, todo, rows = multiprocessing.get_context("fork"), list(types), {}
    live: list[tuple[str, Any, Path, float]] = []
    order = list(todo)
    with tempfile.TemporaryDirectory(prefix="architectures-") as folder:
        while todo or live:
            while todo and len(live) < WORKERS:
                name = todo.pop(0)
                path = Path(folder) / f"{len(order) - len(todo)}.json"
                process = context.Process(target=_child, args=(name, one, path))
                process.start()
                live.append((name, process, path, time.monotonic()))
            time.sleep(0.02)
            for entry in list(live):
                name, process, path, start = entry
                late = time.monotonic() - start > TIME_LIMIT_S
                if process.is_alive() and not late:
                    continue
                if process.is_alive():
                    process.kill()
                process.join()
                live.remove(entry)
                rows[name] = _result(name, path, late, process.exitcode, time.monotonic() - start)
                told(rows[name])
    return [rows[name] for name in order]


def share_operators() -> None:
    """torch makes the table of its ONNX operators anew for every export; made once, every child has it."""
    from torch.onnx._internal.exporter import _registration

    apis = _registration.onnxscript_apis
    apis.get_torchlib_ops = functools.cache(apis.get_torchlib_ops)
    apis.get_torchlib_ops()


def warm_up() -> None:
    """Imports what an export imports, once for every child; no threads may run when a child is forked."""
    import onnxruntime  # noqa: F401
    from transformers.exporters import OnnxExporter  # noqa: F401

    with contextlib.redirect_stdout(io.StringIO()):
        torch.onnx.export(nn.Linear(2, 2).eval(), (torch.zeros(1, 2),), dynamo=True)


def _child(name: str, one: Callable[[str], Row], path: Path) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_LIMIT_S, CPU_LIMIT_S))
    warnings.simplefilter("ignore")
    logging.disable()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        row = one(name)
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(row))
    temporary.rename(path)


def _result(name: str, path: Path, late: bool, code: int | None, seconds: float) -> Row:
    if path.is_file():
        row: Row = json.loads(path.read_text())
    else:
        used_up = late or code in (-signal.SIGXCPU, -signal.SIGKILL)
        limits = f"{CPU_LIMIT_S} s of CPU time or {TIME_LIMIT_S:.0f} s"
        what = f"no end within {limits}" if used_up else f"its process ended with {code}"
        row = {"type": name, "class": None, "buildable": False, "reason": what}
    return {**row, "seconds": round(seconds, 1)}


def examine_type(model_type: str, *, export: bool) -> Row:
    """The row of one type."""
    reasons = []
    for level in range(len(LEVELS)):
        try:
            model = build(model_type, level=level)
            run(model, example(model))
        except NotBuildable as error:
            reasons += [str(error)] if str(error) else []
            continue
        except Exception as error:  # noqa: BLE001 (any error here means this level does not do)
            reasons.append(f"{type(error).__name__}: {first_line(error)}")
            continue
        facts = {"parameters": sum(parameter.numel() for parameter in model.parameters()), "level": level}
        return {
            "type": model_type,
            "class": type(model).__name__,
            "buildable": True,
            **facts,
            **examine(model, export=export),
        }
    return {"type": model_type, "class": None, "buildable": False, "reason": reasons[0]}
