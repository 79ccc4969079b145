"""Failures in a worker become errors of the parent."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from edgeattn import worker
from edgeattn._worker_child import peak_bytes
from edgeattn.errors import BundleError, ResourceError, ToolError

MIB = 1024 * 1024


def gone(pid: int) -> bool:
    """Waits for a process to end. A zombie has ended, only its parent has not reaped it yet."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


def pids_in(file: Path) -> list[int]:
    deadline = time.monotonic() + 10
    while not (file.exists() and file.read_text().count(" ")) and time.monotonic() < deadline:
        time.sleep(0.02)
    return [int(word) for word in file.read_text().split()]


@pytest.fixture
def call(worker_targets: str) -> Callable[..., object]:
    def in_worker(function: str, argument: object = None, *, timeout_s: float = 30, **options: Any) -> object:
        target = f"{worker_targets}:{function}"
        return worker.call(target, argument, stage="build", timeout_s=timeout_s, **options)

    return in_worker


def test_answers_with_what_the_function_returns(call):
    argument = {"text": "käse\n", "list": [1, 2.5, None, True], "long": "x" * 3_000_000}
    assert call("echo", argument) == argument


def test_its_progress_arrives_here_and_may_be_ignored(call):
    said = []
    assert call("count_up", 20, progress=lambda *step: said.append(step)) == "done"
    assert sorted(said) == [(done, 20, "layers") for done in range(1, 21)]
    assert call("count_up", 2) == "done"


def test_child_imports_only_what_its_target_needs(call):
    loaded = call("loaded_modules")
    assert not {"torch", "onnxruntime", "numpy", "pydantic"} & set(loaded)


def test_child_ignores_modules_of_the_working_directory(call, tmp_path, monkeypatch):
    (tmp_path / "json.py").write_text("raise SystemExit('shadowed')")
    monkeypatch.chdir(tmp_path)
    assert call("echo", 1) == 1


def test_only_modules_of_edgeattn_can_be_targets():
    with pytest.raises(ValueError, match="'os:system' is not a function of a module of edgeattn"):
        worker.call("os:system", "true", stage="build", timeout_s=5)


def test_segfault_names_stage_signal_and_last_words(call):
    with pytest.raises(ToolError, match=r"(?s)stage build: died of SIGSEGV.*parsing node .*MatMul_7") as caught:
        call("segfault")
    assert "\x1b" not in str(caught.value)


def test_sigfpe_is_named(call):
    with pytest.raises(ToolError, match="died of SIGFPE"):
        call("divide_by_zero")


def test_an_exit_without_answer_is_an_error(call):
    with pytest.raises(ToolError, match="ended with exit code 7 and no answer"):
        call("exit_silently")


def test_time_limit_ends_the_whole_group(call, tmp_path):
    with pytest.raises(ResourceError, match=r"longer than its time limit of 1 s"):
        call("hang_with_grandchild", str(tmp_path / "pids"), timeout_s=1)
    child, grandchild = pids_in(tmp_path / "pids")
    assert gone(child)
    assert gone(grandchild)


def test_memory_limit_tells_peak_and_limit(call):
    with pytest.raises(ResourceError, match=r"ran out of memory .*peak was \d+ MiB, its limit 300 MiB"):
        call("allocate", 2000 * MIB, memory_bytes=300 * MIB)
    assert call("allocate", 100 * MIB, memory_bytes=300 * MIB) == 100 * MIB


def test_bad_alloc_in_native_code_is_told_as_memory(call):
    with pytest.raises(ResourceError, match="ran out of memory and died of SIGABRT"):
        call("abort_out_of_memory", memory_bytes=900 * MIB)


def test_kill_by_the_kernel_is_told_as_memory_with_the_peak(call):
    # A child starts with its parent's peak, above which its own can be told.
    size = (peak_bytes() or 0) + 200 * MIB
    with pytest.raises(ResourceError, match=r"SIGKILL.*when memory runs out; its peak was \d{3,} MiB"):
        call("killed_by_kernel", size)


def test_output_of_native_code_cannot_forge_an_answer(call, capfd, caplog):
    assert call("print_everywhere") == "genuine"
    assert capfd.readouterr() == ("", "")
    assert "settings are of another version" in caplog.text
    assert "forged" not in caplog.text


def test_output_is_shown_at_debug(call, caplog):
    caplog.set_level(logging.DEBUG, "edgeattn")
    call("print_everywhere")
    assert "forged" in caplog.text


def test_an_edgeattn_error_keeps_its_class_and_parts(call):
    with pytest.raises(BundleError) as caught:
        call("refuse")
    error = caught.value
    assert (error.fact, error.where, error.fix) == ("model.onnx is torn", "b/model.onnx", "copy it again")


def test_another_exception_is_a_tool_error(call):
    with pytest.raises(ToolError, match="stage build: failed: RuntimeError: no kernel for Einsum"):
        call("fail")


def test_nan_is_no_answer(call):
    with pytest.raises(ToolError, match="misbehaving:not_a_number cannot be sent as JSON: Out of range float"):
        call("not_a_number")
    with pytest.raises(ToolError, match="the request cannot be sent as JSON"):
        call("echo", float("inf"))


def test_a_process_answers_several_requests(worker_targets):
    target = f"{worker_targets}:counter"
    with worker.Process(target, 10, stage="bench", timeout_s=30, env={"EDGEATTN_TEST": "1"}) as process:
        assert process.ask(1) == {"pid": process.pid, "sum": 11}
        assert process.ask(2) == {"pid": process.pid, "sum": 13}
        assert process.ask("env") == "1"
        assert process.pid != os.getpid()
    assert gone(process.pid)
    process.close()


def test_a_process_is_over_after_a_failure(worker_targets):
    with worker.Process(f"{worker_targets}:counter", 0, stage="bench", timeout_s=30) as process:
        with pytest.raises(ToolError, match="stage bench: failed: RuntimeError"):
            process.ask("fail")
        with pytest.raises(ToolError, match="stage bench: the worker has ended already"):
            process.ask(1)


def test_time_limit_holds_for_each_request(worker_targets):
    with worker.Process(f"{worker_targets}:counter", 0, stage="bench", timeout_s=1) as process:
        with pytest.raises(ResourceError, match="time limit of 1 s"):
            process.ask("sleep")
        assert gone(process.pid)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_children_end_with_an_interrupted_or_killed_parent(worker_targets, tmp_path, how):
    """The child hangs in native code that keeps the GIL."""
    pid_file = tmp_path / "pids"
    code = (
        "import sys; from edgeattn import worker\n"
        f"worker.call('{worker_targets}:hang_with_grandchild', sys.argv[1], stage='build', timeout_s=60)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(pid_file)],
        start_new_session=True,
        stderr=subprocess.DEVNULL,
        # A shell starts its background jobs with SIGINT ignored, which children inherit, these tests among them.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    child, grandchild = pids_in(pid_file)
    os.killpg(parent.pid, how)
    assert parent.wait(10) == -how
    assert gone(child)
    assert gone(grandchild)
