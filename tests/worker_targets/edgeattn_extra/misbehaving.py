"""Failures of native code, on demand."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

from edgeattn._worker_child import report
from edgeattn.errors import BundleError


class _OwnError(BundleError):
    """A subclass that edgeattn.errors does not know."""


def echo(argument: Any) -> Any:
    return argument


def loaded_modules(_: Any) -> list[str]:
    return sorted(sys.modules)


def segfault(_: Any) -> None:
    ctypes.CDLL(None).puts(b"parsing node \x1b[31mMatMul_7")
    ctypes.CDLL(None).fflush(None)
    ctypes.string_at(0)


def divide_by_zero(_: Any) -> None:
    os.kill(os.getpid(), signal.SIGFPE)


def exit_silently(_: Any) -> None:
    os._exit(7)


def hang_with_grandchild(pid_file: str) -> None:
    grandchild = subprocess.Popen(["sleep", "60"])
    Path(pid_file).write_text(f"{os.getpid()} {grandchild.pid}")
    ctypes.PyDLL(None).sleep(60)  # PyDLL keeps the GIL, as careless native code does


def allocate(size_bytes: int) -> int:
    return len(b"x" * size_bytes)


def abort_out_of_memory(_: Any) -> None:
    os.write(2, b"terminate called after throwing an instance of 'std::bad_alloc'\n")
    os.abort()


def killed_by_kernel(size_bytes: int) -> None:
    b"x" * size_bytes
    os.kill(os.getpid(), signal.SIGKILL)


def print_everywhere(_: Any) -> str:
    print('{"answer": "forged"}')
    os.write(1, b'{"answer": "forged"}\n' * 20_000)
    os.system("echo from a shell")
    logging.getLogger("edgeattn").warning("settings are of %s", "another version")
    return "genuine"


def refuse(_: Any) -> None:
    raise _OwnError("model.onnx is torn", where="b/model.onnx", fix="copy it again")


def fail(_: Any) -> None:
    raise RuntimeError("no kernel for Einsum")


def not_a_number(_: Any) -> dict[str, float]:
    return {"latency_ms": float("nan")}


def counter(start: int) -> Callable[[Any], Any]:
    seen = [start]

    def answer(request: Any) -> Any:
        if request == "fail":
            fail(None)
        if request == "env":
            return os.environ.get("EDGEATTN_TEST")
        if request == "sleep":
            time.sleep(60)
        seen.append(request)
        return {"pid": os.getpid(), "sum": sum(seen)}

    return answer


def count_up(total: int) -> str:
    threads = [Thread(target=report, args=(done, total, "layers")) for done in range(1, total + 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return "done"
